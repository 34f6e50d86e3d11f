"""What looks like attention sinks and is not is refused; the right forms are in test_attention."""

from dataclasses import replace

import numpy as np
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.graph import Constant
from compiler.graph_rules import validate
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.storage import IN_BF16
from sim.backends import make_backend
from sim.runtime import Session
from tests.compiler.decoder import decoder
from tests.compiler.interpret import interpret
from tests.compiler.models import model_path
from tests.compiler.test_attention import KIND_EXTRA, PLAIN_MASK, SINKS, SLOPES
from tests.compiler.test_compiled import BOUND, TINY
from tests.compiler.test_encoders import NORM
from tests.support import rng

EXTRA = KIND_EXTRA | {
    "endless": np.full((1, 6, 1, 1), np.inf, np.float32),
    "pairs": np.zeros((1, 6, 1, 2), np.float32),
    "row_axis": np.array([2]),
    "hundred": np.array(100, np.float32),
    "high_sinks": np.full((1, 6, 1, 1), 500, np.float32),
    "no_pair": np.array([-2]),
}
AFTER = "cannot be applied to attention"
REFUSED = {
    ("zero, last_axis, three, one)", "one, big, three, one)"): (
        'node "weights" (Slice): it must drop the weights of attention\'s sinks and keep those of'
    ),
    ("Softmax<axis = -1>(shifted)", "Softmax<axis = 2>(shifted)"): (
        'node "all_weights" (Softmax): the Softmax of attention must be over the keys'
    ),
    ("Sub(joined, most)", "Mul(joined, half)"): (
        f'node "shifted" (Mul): it {AFTER} scores joined with sinks'
    ),
    ("Sub(joined, most)", "Sub(most, joined)"): (
        f'node "shifted" (Sub): it {AFTER} maximum joined with sinks'
    ),
    ("(joined, last_axis)", "(joined, row_axis)"): (
        f'node "most" (ReduceMax): it {AFTER} scores joined with sinks'
    ),
    ("Expand(sinks,", "Expand(endless,"): (
        'node "joined" (Concat): its sinks must be a finite number of each head, the same for all'
    ),
    ("sink_rows = Expand(sinks, sink_size)", "sink_rows = Sin(by_rows)"): (
        'node "joined" (Concat): its sinks must be a finite number of each head, the same for all'
    ),
    ("one, one, new_size, one)", "one, one, new_size, two)"): (
        'node "joined" (Concat): sinks must be one score more for each head and token'
    ),
}


@pytest.mark.parametrize("change", REFUSED)
def test_reject_what_is_not_a_score_more_for_each_head(change):
    old, new = change
    assert old in SINKS
    scores = SINKS.replace(old, new)
    if "by_rows" in new:
        turns = "rows_f = Cast<to = 1>(rows_t) by_rows = Add(rows_f, sinks)"
        scores = scores.replace("sink_rows = Sin", f"{turns} sink_rows = Sin")
    if "two)" in new:
        scores = scores.replace("Expand(sinks,", "Expand(pairs,").replace(
            "last_axis, t", "no_pair, t"
        )
    with pytest.raises(CompileError) as error:
        canonicalise(decoder(EXTRA, scores=scores), 64, "model")
    assert REFUSED[change] in str(error.value)


def test_layers_with_sinks_of_their_own_are_one_loop():
    """The same bits as layer by layer, and what the definition says."""
    graph = canonicalise(load_model(model_path("exporters/qwen3/genai_fp32")), 48, "model")
    constants, ops = dict(graph.constants), list(graph.ops)
    for layer, index in enumerate(i for i, op in enumerate(ops) if op.kind == "attention"):
        heads = ops[index].output.groups
        constants[f"sinks {layer}"] = np.arange(heads, dtype=np.float32)[:, None] * 2 - 3 * layer
        inputs = (*ops[index].inputs, Constant(f"sinks {layer}"))
        attributes = {**ops[index].attributes, "sinks": True}
        ops[index] = replace(ops[index], inputs=inputs, attributes=attributes)
    graph = replace(graph, ops=tuple(ops), constants=constants)
    validate(graph)
    ids, found = rng(6).integers(0, 256, 45), []
    for loops in ("always", "never"):
        image = compile_graph(graph, TINY, storage=replace(IN_BF16, loops=loops), tile=32)
        session = Session(image, make_backend("functional"))
        found.append(np.concatenate([session.step(ids[:37]), session.step(ids[37:])]))
    np.testing.assert_array_equal(*found)
    past = {
        name: np.zeros((1, cache.heads, 0, cache.width), np.float32)
        for cache in graph.caches
        for name in (cache.past_key, cache.past_value)
    }
    wanted = interpret(graph, ids, past)["logits"][0]
    assert np.abs(found[0] - wanted).mean() < 2 * BOUND * wanted.std()


def test_sinks_far_above_all_scores_of_a_tile():
    """Where maxima rise by hundreds from tile to tile, no sum may have become infinite before."""
    scores = SINKS.replace("Mul(raw, half)", "Mul(raw, hundred)").replace("sinks,", "high_sinks,")
    model = decoder(EXTRA, feature=NORM, scores=scores)
    image = compile_graph(canonicalise(model, 157, "model"), TINY, tile=32)
    logits = Session(image, make_backend("functional")).step(rng(7).integers(0, 19, 157))
    assert np.isfinite(logits).all()


def test_reject_a_bias_beside_sinks():
    """A number that a whole row gets is nothing to a softmax of keys, but to one with sinks."""
    with pytest.raises(CompileError, match=r"beside attention sinks there can only be a causal"):
        canonicalise(decoder(EXTRA, scores=SINKS, mask=PLAIN_MASK + SLOPES), 64, "model")
