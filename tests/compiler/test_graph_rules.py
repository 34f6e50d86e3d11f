"""Every rule of the canonical graph's table refuses what breaks it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from compiler.canonical import canonicalise
from compiler.graph import Constant, Graph, Op, Scalar, Source, Table, Tensor
from compiler.graph_rules import RULES, validate
from tests.compiler.decoder import decoder

X, SMALL = Tensor("x", 1, 24), Tensor("r", 1, 1)


def graph() -> Graph:
    return canonicalise(decoder(), 16, "model")


def with_op(kind: str, inputs: tuple, size: tuple[int, int], **attributes: object) -> Graph:
    """The decoder's graph with one more operator at its end."""
    op = Op(kind, inputs, Tensor("new", *size), (Source("n", "Test"),), attributes)
    return replace(graph(), ops=(*graph().ops, op))


LEGAL = [
    ("add", (X, X), (1, 24), {}),
    ("mul", (X, Constant("gain")), (1, 24), {}),
    ("max", (X, Scalar(1.0)), (1, 24), {}),
    ("mul", (Tensor("q", 6, 4), Table("cos")), (6, 4), {}),
    ("exp", (X,), (1, 24), {}),
    ("reduce_sum", (X,), (1, 1), {}),
    ("linear", (X, Constant("wk")), (1, 8), {}),
    ("rotate", (X,), (1, 24), {"shift": 12, "signs": (-1, 1) * 12}),
    ("view", (X,), (4, 6), {}),
    ("top_index", (X,), (5, 1), {}),
    ("lookup", (X, Constant("wk")), (1, 8), {}),
    ("sum_groups", (Tensor("q", 6, 4),), (1, 4), {}),
]
ILLEGAL = [
    ("add", (X, Tensor("q", 6, 4)), (1, 24), {}),
    ("add", (Scalar(1.0), X), (1, 24), {}),
    ("add", (X, X), (1, 23), {}),
    ("add", (X,), (1, 24), {}),
    ("mul", (X, Table("cos")), (1, 24), {}),
    ("exp", (X,), (2, 12), {}),
    ("exp", (Scalar(1.0),), (1, 1), {}),
    ("reduce_max", (X,), (1, 24), {}),
    ("linear", (X, Constant("wk")), (1, 24), {}),
    ("linear", (X, X), (1, 24), {}),
    ("embed", (Constant("table"),), (1, 23), {}),
    ("rotate", (X,), (1, 24), {"shift": 24, "signs": (1,) * 24}),
    ("rotate", (X,), (1, 24), {"shift": 1, "signs": (1,) * 23}),
    ("rotate", (X,), (1, 24), {"shift": 1, "signs": (2,) * 24}),
    ("view", (X,), (1, 23), {}),
    ("top_index", (X,), (25, 1), {}),
    ("top_index", (Tensor("q", 6, 4),), (2, 1), {}),
    ("one_hot", (X,), (1, 7), {}),
    ("lookup", (X, X), (1, 24), {}),
    ("sum_groups", (Tensor("q", 6, 4),), (6, 1), {}),
    ("chosen_linear", (X, X, X), (1, 24), {}),
    ("each_linear", (X, X), (1, 24), {}),
    ("attention", (X, X, X), (1, 24), {"scale": 1.0, "layer": 0, "behind": -1, "ahead": 0}),
    ("attention", (X, X, X), (1, 24), {"scale": 1.0, "layer": 7, "behind": -1, "ahead": 0}),
]


@pytest.mark.parametrize("case", LEGAL, ids=str)
def test_legal(case):
    *rest, attributes = case
    validate(with_op(*rest, **attributes))


@pytest.mark.parametrize("case", ILLEGAL, ids=str)
def test_illegal(case):
    *rest, attributes = case
    with pytest.raises(ValueError, match=r"^operands must fit the operator, not %new"):
        validate(with_op(*rest, **attributes))


def test_unknown_kind():
    with pytest.raises(ValueError, match=f"kind must be one of {', '.join(RULES)}, not 'div'$"):
        validate(with_op("div", (X, X), (1, 24)))


@pytest.mark.parametrize("missing", [SMALL, Constant("none"), Table("none"), Tensor("x", 2, 12)])
def test_operands_must_exist(missing):
    text = re.escape(f"operands must exist before they are used, not {missing}: ")
    with pytest.raises(ValueError, match=f"^{text}"):
        validate(with_op("add", (X, missing), (1, 24)))


def test_order_matters():
    with pytest.raises(ValueError, match=r"^operands must exist before they are used, not %"):
        validate(replace(graph(), ops=graph().ops[::-1]))


def test_a_tensor_has_one_operator():
    again = replace(graph(), ops=(*graph().ops, graph().ops[-1]))
    with pytest.raises(ValueError, match=r"^a tensor must have one operator, not two: %logits"):
        validate(again)


def test_every_cache_needs_an_attention():
    caches = (*graph().caches, replace(graph().caches[0], layer=1))
    with pytest.raises(ValueError, match=r"^each of 2 caches needs one attention, not \[0\]$"):
        validate(replace(graph(), caches=caches))


def test_logits_must_be_computed():
    logits = replace(graph().outputs[0], tensor=Tensor("logits", 1, 20))
    with pytest.raises(ValueError, match=r"^outputs must be made by an operator, not %logits"):
        validate(replace(graph(), outputs=(logits,)))


def test_scalars_and_constants_print_what_they_are():
    op = Op("mul", (X, Scalar(0.1)), X, (Source("n", "Mul"),))
    assert str(op) == "%x(1×24) = mul(%x(1×24), 0.1)  # n (Mul)"
    assert str(Source("n", "Mul")) == 'node "n" (Mul)'
    assert graph().constants["gain"].dtype == np.float32
