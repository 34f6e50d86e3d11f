"""Masks of contexts whose square is too large: rows of them say what the whole ones do."""

import onnx
import pytest

from compiler import evaluate_node, evaluate_rows
from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.graph import Op
from tests.compiler.decoder import PARTS, decoder_without_cache
from tests.compiler.test_attention import KIND_EXTRA, PLAIN_MASK, SEEN, SLOPES, WINDOW
from tests.compiler.test_encoders import encoder_of

LONG = 60_000
SIDE = 128
FAR = PARTS["mask"].replace(
    SEEN,
    "seen = LessOrEqual(index, rows_t) far = Sub(rows_t, index) near = Less(far, limit) "
    "allowed = And(seen, near)",
)
LEADING = PARTS["mask"].replace("mask =", "mask_2 =") + (
    " mask_3 = Squeeze(mask_2, zero) mask_4 = Squeeze(mask_3, zero) "
    "mask = Unsqueeze(mask_4, zero_one)"
)
EXPANDED = (
    PARTS["mask"].replace("mask =", "mask_2 =")
    + """
    square = Concat<axis = 0>(one, one, total, total) wide = Expand(nought, square)
    mask_3 = Expand(mask_2, square) mask = Add(mask_3, wide)"""
)
MASKS = {
    "expanded": {"mask": EXPANDED.replace("wide", "wide_0")},
    "causal": {},
    "window": {"mask": WINDOW},
    "by head and key": {"mask": PLAIN_MASK + SLOPES},
    "leading axes": {"mask": LEADING},
}


def uncached(mask: str, limit: int = 0) -> onnx.ModelProto:
    extra = KIND_EXTRA | {"limit": KIND_EXTRA["nine"] * 0 + limit}
    extra["zero_one"] = KIND_EXTRA["window"].reshape(1).repeat(2) * 0 + [0, 1]
    return decoder_without_cache(extra, **({"mask": mask} if mask else {}))


def attention_of(model: onnx.ModelProto, context: int) -> Op:
    ops = canonicalise(model, context, "model").ops
    return next(op for op in ops if op.kind == "attention")


def limited(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    for module in (evaluate_node, evaluate_rows):
        monkeypatch.setattr(module, "LARGEST", numbers)


@pytest.mark.parametrize("name", MASKS)
def test_rows_of_a_decoder_say_the_same(name, monkeypatch):
    model = uncached(MASKS[name].get("mask", ""))
    whole = canonicalise(model, SIDE, "model")
    limited(monkeypatch, SIDE * SIDE - 1)
    found = canonicalise(model, SIDE, "model")
    assert found.ops == whole.ops
    for key, array in whole.constants.items():
        assert (found.constants[key] == array).all()


@pytest.mark.parametrize("name", ["to both sides", "two ahead"])
def test_rows_of_an_encoder_say_the_same(name, monkeypatch):
    model = encoder_of(name)
    whole = attention_of(model, SIDE)
    limited(monkeypatch, SIDE * SIDE - 1)
    assert attention_of(model, SIDE) == whole


def test_tables_by_position_need_the_whole(monkeypatch):
    limited(monkeypatch, SIDE * SIDE - 1)
    with pytest.raises(CompileError, match="its value would be 16384 numbers, more than 16383"):
        canonicalise(encoder_of("every third"), SIDE, "model")


def test_reject_rows_that_cannot_be_evaluated_alone(monkeypatch):
    turned = PARTS["mask"].replace("mask =", "mask_t =") + (
        " mask = Transpose<perm = [0, 1, 2, 3]>(mask_t)"
    )
    limited(monkeypatch, SIDE * SIDE - 1)
    text = r'"mask" \(Transpose\): its value has 128 rows, which cannot be evaluated one by one'
    with pytest.raises(CompileError, match=text):
        canonicalise(uncached(turned), SIDE, "model")


@pytest.mark.parametrize("limit", [7_000, 50_000])
def test_contexts_of_any_length(limit):
    """A window that only the last tokens of a long context show."""
    assert attention_of(uncached(FAR, limit), LONG).attributes["behind"] == limit - 1
    assert attention_of(uncached(FAR, limit), 6_000).attributes["behind"] == -1
