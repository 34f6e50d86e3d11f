"""Whose room in SRAM a result may take."""

import pytest

from compiler.graph import Op, Scalar, Tensor
from compiler.layout import Layout, Placed
from compiler.rooms import Reads
from compiler.virtual import Buffer

X, Y, VIEW, OUT = (Tensor(name, 1, 24) for name in ("x", "y", "view", "out"))
LAYOUT = Layout(1, 24, 8)
ROOM = Placed(Buffer("room", "sram", 96), LAYOUT)
SQUARE = Op("mul", (X, X), OUT, ())


def later(*reads: Tensor) -> list[Op]:
    return [Op("add", (x, Scalar(1.0)), Y, ()) for x in reads]


@pytest.mark.parametrize("others", [later(X), later(VIEW), later(Y, X)])
def test_who_is_read_again_keeps_its_room(others):
    reads = Reads([SQUARE, *others])
    tensors = {"x": ROOM, "view": ROOM}
    assert not reads.may_overwrite(SQUARE, X, tensors, LAYOUT)
    for op in others:
        reads.finish(op)
    assert reads.may_overwrite(SQUARE, X, tensors, LAYOUT)


def test_only_rooms_of_the_same_form():
    reads = Reads([SQUARE])
    assert reads.may_overwrite(SQUARE, X, {"x": ROOM}, LAYOUT)
    assert not reads.may_overwrite(SQUARE, X, {"x": ROOM}, Layout(3, 8, 16))
    reads.pinned["room"] = "made", frozenset()
    assert not reads.may_overwrite(SQUARE, X, {"x": ROOM}, LAYOUT)


def test_who_may_lie_where_something_else_will_be():
    """What is read behind the layer (`made`) is not there yet."""
    reads = Reads([SQUARE, Op("add", (Tensor("made", 1, 24), Scalar(1.0)), Y, ())])
    tensors = {"x": ROOM, "made": ROOM}
    reads.pinned["room"] = "made", frozenset(["out"])
    assert reads.may_overwrite(SQUARE, X, tensors, LAYOUT)
    reads.pinned["room"] = "made", frozenset(["other"])
    assert not reads.may_overwrite(SQUARE, X, tensors, LAYOUT)


def test_operators_that_are_lowered_again():
    reads = Reads([SQUARE, *later(X)])
    for op in (SQUARE, *later(X)):
        reads.finish(op)
    reads.begin([SQUARE, *later(X)])
    assert not reads.may_overwrite(SQUARE, X, {"x": ROOM}, LAYOUT)
