"""Routers that are more than one TopK: PhiMoE's two choices, DeepSeek's groups of experts."""

import numpy as np
import onnx
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from tests.compiler.agreement import difference, kinds
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, compare
from tests.compiler.test_experts import BATCHED, REPEATED, SUMMED, constants, mixture
from tests.support import rng

CHOICE = """
    {to}_gap = Sub({to}_most, scores) {to}_limit = Max(size_, {to}_most)
    {to}_ratio = Div({to}_gap, {to}_limit) {to}_far = Greater({to}_ratio, near_enough)
    {to}_near = Where({to}_far, low, {of}) {to}_soft = Softmax<axis = -1>({to}_near)
    {to}_gate = GatherElements<axis = -1>({to}_soft, {to}_index)"""
MOST = """
    {to}_most = ReduceMax<keepdims = 1>({of}, minus_one) {to}_index = ArgMax<axis = -1>({of})"""
SPARSEMIXER = (
    "scores = MatMul(flat_x, router_t) size_ = Abs(scores)"
    + (MOST + CHOICE).format(to="a", of="scores")
    + """
    index_size = Shape(a_index) fillers = Expand(low, index_size)
    others = ScatterElements<axis = -1>(scores, a_index, fillers)"""
    + (MOST + CHOICE).format(to="b", of="others")
    + """
    gates = Concat<axis = -1>(a_gate, b_gate) chosen = Concat<axis = -1>(a_index, b_index)"""
)
GROUPS = """
    logit = MatMul(flat_x, router_t) probabilities = Sigmoid(logit)
    corrected = Add(probabilities, router_bias) in_groups = Reshape(corrected, group_shape)
    group_best, group_rest = TopK(in_groups, two)
    group_scores = ReduceSum<keepdims = 0>(group_best, minus_one)
    best_groups, group_index = TopK<sorted = 0>(group_scores, two) sizes = Shape(group_scores)
    no_group = ConstantOfShape(sizes) index_sizes = Shape(group_index)
    all_ones = Expand(one_float, index_sizes)
    group_mask = ScatterElements<axis = 1>(no_group, group_index, all_ones)
    mask_3d = Unsqueeze(group_mask, minus_one) mask_wide = Expand(mask_3d, mask_sizes)
    mask_flat = Reshape(mask_wide, score_shape) allowed_ = Cast<to = 9>(mask_flat)
    barred = Not(allowed_) masked_scores = Where(barred, nought, corrected)
    unused, chosen = TopK(masked_scores, two)
    gates_ = GatherElements<axis = 1>(probabilities, chosen)
    total_gate = ReduceSum<keepdims = 1>(gates_, minus_one) gates = Div(gates_, total_gate)"""
LARGEST_OF_GROUPS = GROUPS.replace(
    "group_best, group_rest = TopK(in_groups, two)",
    "group_best = ReduceMax<keepdims = 1>(in_groups, minus_one)",
)
ROUTERS = {"sparsemixer": SPARSEMIXER, "groups": GROUPS, "largest of groups": LARGEST_OF_GROUPS}
EXPERTS, GROUP = 12, 3


def routed(
    router: str, experts: int = EXPERTS, group: int = GROUP, **others: np.ndarray
) -> onnx.ModelProto:
    """Of experts whose scores are far from each other and from the limits of a router."""
    extra = constants(experts)
    extra["router_t"] *= 6
    extra |= {
        "low": np.array(-np.inf, np.float32),
        "near_enough": np.array(0.5, np.float32),
        "group_shape": np.array([-1, experts // group, group]),
        "mask_sizes": np.array([1, experts // group, group]),
        "router_bias": rng(8).standard_normal(experts).astype(np.float32) / 4,
    }
    extra |= {name: array.astype(np.float32) for name, array in others.items()}
    return mixture(router + REPEATED + BATCHED + SUMMED, extra)


@pytest.mark.parametrize("name", ROUTERS)
def test_routers_agree_with_onnxruntime(name):
    model = routed(ROUTERS[name])
    assert difference(model, 32, [(9, 0), (1, 9), (5, 6), (1, 0)], 1) < 2e-5
    found = kinds(model)
    assert found.count("chosen_linear") == 3
    assert found.count("drop_max") == (1 if name == "groups" else 0)


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("name", ROUTERS)
def test_compiled(name, config):
    model = routed(ROUTERS[name])
    assert compare(model, config, [(1, 0), (2, 3), (5, 0), (17, 9)]) < 2 * BOUND


def test_groups_of_more_experts_than_a_signed_byte_holds():
    """The largest of a group, one of its last, is found by a number of two bytes."""
    bias = np.where(np.arange(3 * 140) % 140 < 130, -4, 0).astype(np.float32)
    model = routed(GROUPS, 3 * 140, 140, router_bias=bias + rng(8).standard_normal(420) / 8)
    assert compare(model, TINY, [(3, 0)]) < 2 * BOUND


REFUSED = {
    ("b_index = ArgMax<axis = -1>", "b_index = ArgMax<axis = -1, select_last_index = 1>"): (
        'node "b_index" (ArgMax): of equals it must choose the first'
    ),
    ("fillers = Expand(low, index_size)", "wide_ = Tanh(a_most) fillers = Identity(wide_)"): (
        'node "others" (ScatterElements): it must put numbers of a token\'s chosen features'
    ),
}


@pytest.mark.parametrize("change", REFUSED)
def test_refused(change):
    old, new = change
    assert old in SPARSEMIXER
    with pytest.raises(CompileError) as error:
        canonicalise(routed(SPARSEMIXER.replace(old, new)), 32, "model")
    assert REFUSED[change] in str(error.value)


def test_reject_indices_in_groups():
    router = GROUPS.replace("Shape(group_scores)", "Shape(group_rest)")
    router = GROUPS.replace("group_index = TopK<", "unused_ = TopK<").replace(
        "index_sizes =",
        "group_index = ReduceMax<keepdims = 0>(group_rest, minus_one) index_sizes =",
    )
    with pytest.raises(CompileError, match="of a choice in each of 4 groups only the values can"):
        canonicalise(routed(router), 32, "model")
