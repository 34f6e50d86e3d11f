"""Single nodes: what is too large to be worked out."""

import numpy as np
import pytest
from onnx import helper

from compiler import evaluate_node
from compiler.errors import CompileError
from compiler.evaluate_node import Nodes

NODES = Nodes([helper.make_opsetid("", 18)], 9)


@pytest.mark.parametrize(
    ("op_type", "inputs", "size"),
    [
        ("Range", [np.int64(0), np.int64(1 << 40), np.int64(1)], 1 << 40),
        ("Range", [np.float32(5), np.float32(-(2.0**35)), np.float32(-0.5)], 68719476746),
        ("ConstantOfShape", [np.array([1 << 20, 1 << 20])], 1 << 40),
        ("Expand", [np.zeros((1, 3)), np.array([1 << 30, 3])], 3 << 30),
        ("Tile", [np.zeros((5, 3)), np.array([1 << 15, 1 << 15])], 15 << 30),
        ("LessOrEqual", [np.zeros((1, 20_000)), np.zeros((20_000, 1))], 400_000_000),
    ],
)
def test_large_values_of_small_ones_are_refused(op_type: str, inputs: list, size: int) -> None:
    node = helper.make_node(op_type, [f"i{i}" for i in range(len(inputs))], ["y"], "n")
    with pytest.raises(CompileError, match=rf'node "n" .*its value would be {size} numbers, more'):
        NODES.run(node, [np.asarray(x) for x in inputs])


def test_large_weights_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_node, "LARGEST", 1000)
    node = helper.make_node("Sub", ["codes", "points"], ["y"], "n")
    codes, points = np.arange(6000.0).reshape(60, 100), np.ones((60, 1))
    np.testing.assert_array_equal(NODES.run(node, [codes, points])[0], codes - 1)
    with pytest.raises(CompileError, match="6000 numbers, more than 1000"):
        NODES.run(node, [codes[:1], points])


def test_the_size_of_a_gather_is_that_of_what_it_takes():
    """A column and a row of indices are no square."""
    rows, columns = np.arange(20_000)[:, None], np.arange(20_000)[None]
    (found,) = NODES.run(helper.make_node("Gather", ["x", "i"], ["y"]), [rows, columns])
    assert found.shape == (1, 20_000, 1)
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=0)
    with pytest.raises(CompileError, match="its value would be 400000000 numbers, more than"):
        NODES.run(node, [columns, np.zeros(20_000, np.int64)])
