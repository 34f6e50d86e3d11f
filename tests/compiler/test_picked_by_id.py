"""One token of all, picked by its id: the end of a text, the last one before the padding."""

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.picked_by_id import replace_picks
from tests.compiler.agreement import difference
from tests.compiler.decoder import decoder, decoder_without_cache, feeds
from tests.compiler.test_compiled import TINY, compiled, reference
from tests.support import rng

END = 7
# How exporters write what decides, and how its index is used.
DECIDES = {
    "the end": ("e = Equal(input_ids, end)  f = Cast<to = 6>(e)", ("first id", END)),
    "the end, as int32": (
        "c = Cast<to = 6>(input_ids)  o = Cast<to = 6>(end)  e = Equal(c, o)  f = Cast<to = 7>(e)",
        ("first id", END),
    ),
    "the largest": ("f = Identity(input_ids)", ("largest", 0)),
    "before the padding": (
        "e = Equal(input_ids, end)  n_ = Not(e)  g = Cast<to = 7>(n_)  s_ = Shape(input_ids)  "
        "l_ = Gather<axis = 0>(s_, one_scalar)  r_ = Range(zero_scalar, l_, one_scalar)  "
        "f = Mul(g, r_)",
        ("last other id", END),
    ),
}
GATHER = "i = ArgMax<axis = 1, keepdims = 0>(f)  t_ = Gather<axis = 1>(y, i)  p = Squeeze(t_, one)"
GATHER_ND = (
    "i = ArgMax<axis = -1, keepdims = 1>(f)  row = Mul(i, nought_int)  "
    "at = Concat<axis = 1>(row, i)  p = GatherND(y, at)"
)
EXTRA = {"end": np.array(END), "nought_int": np.array([[0]]), "two_scalar": np.array(2)}


def picking(decides: str, uses: str = GATHER, make=decoder_without_cache) -> onnx.ModelProto:
    """All tokens' logits, and one's."""
    logits = (
        f"n = LayerNormalization(y, gain) logits = MatMul(n, head) {decides} {uses} "
        "z_ = LayerNormalization(p, gain) pooled = MatMul(z_, head)"
    )
    model = make(EXTRA, logits=logits)
    model.graph.output.append(helper.make_tensor_value_info("pooled", 1, (1, 19)))
    return model


@pytest.mark.parametrize("uses", [GATHER, GATHER_ND], ids=["gather", "gather_nd"])
@pytest.mark.parametrize("case", DECIDES)
def test_the_row_is_that_tokens(case: str, uses: str):
    """That of which onnxruntime picks the logits, to the bit."""
    decides, rule = DECIDES[case]
    model = picking(decides, uses)
    graph = canonicalise(model, 64, "model")
    assert [(o.pick, o.pick_id) for o in graph.outputs] == [("", 0), rule]
    assert difference(model, 64, [(5, 0), (1, 0), (30, 0)], 1) < 1e-5
    session, expected, random, places = compiled(model, TINY), reference(model), rng(3), set()
    for length in (1, 2, 5, 8, 9, 30, 64):
        ends = np.append(random.integers(0, 7, length - 1), END)
        padded = np.where(np.arange(length) > length // 3, END, random.integers(8, 19, length))
        for ids in (random.integers(0, 19, length), np.full(length, END), ends, padded):
            inputs = feeds(model, ids, {})
            (logits, pooled), actual = expected.run(None, inputs), session.run(inputs)
            place = int(np.abs(logits[0] - pooled).sum(axis=1).argmin())
            np.testing.assert_array_equal(actual["pooled"], actual["logits"][:, place])
            places.add((place, length))
    assert len(places) > 12


@pytest.mark.parametrize(
    ("decides", "refused"),
    [
        ("f = Neg(input_ids)", "it must choose from all features of one token, not along axis 1"),
        ("f = Mod(input_ids, end)", "unsupported operators: Mod"),
        ("a_ = Less(input_ids, end)  f = Cast<to = 6>(a_)", "token ids can only select rows"),
    ],
)
def test_rules_that_the_host_has_not(decides: str, refused: str):
    with pytest.raises(CompileError, match=refused):
        canonicalise(picking(decides), 64, "model")


def test_a_choice_behind_the_whole_model_is_none():
    """Deep graphs of nothing but ids, with an ArgMax at their end, are not evaluated."""
    model = picking("f = Identity(input_ids)")
    hidden, names = "y", []
    for number in range(3000):
        names.append(helper.make_node("Tanh", [hidden], [f"deep_{number}"]))
        hidden = f"deep_{number}"
    names.append(helper.make_node("ArgMax", [hidden], ["deepest"], axis=2))
    model.graph.node.extend(names)
    changed, rule = replace_picks(model)
    assert rule == ("largest", 0)
    assert [node.op_type for node in changed.graph.node].count("ArgMax") == 1
    assert replace_picks(changed) == (changed, None)


def test_where_a_launch_has_not_all_ids():
    """Behind a past, or with rules that differ, that id must not come, as that of padding."""
    decides, _ = DECIDES["the end"]
    graph = canonicalise(picking(decides, make=decoder), 64, "model")
    assert graph.excluded == {"input_ids": [END]}
    second = (
        f"{GATHER}  e2 = Equal(input_ids, two_scalar)  f2 = Cast<to = 6>(e2)  "
        "j = ArgMax<axis = 1, keepdims = 0>(f2)  u_ = Gather<axis = 1>(y, j)  v_ = Squeeze(u_, one)"
    )
    model = picking(decides, second)
    model.graph.output.append(helper.make_tensor_value_info("v_", 1, (1, 24)))
    assert canonicalise(model, 64, "model").excluded == {"input_ids": [2, END]}
