"""The order of instructions: small programs written by hand and random ones."""

import itertools

import numpy as np
import pytest

from compiler.order import order_by_products
from compiler.virtual import Access, Buffer, FieldValue, Item, Label, VirtualOp
from isa.program import Reg
from tests.support import rng

ROOMS = [*(Buffer(f"b{i}", "sram", 96) for i in range(9)), Buffer("acc", "acc", 64, 0)]


def op(mnemonic: str, reads: str = "", writes: str = "", **fields: FieldValue) -> VirtualOp:
    """Reads and writes rooms by name, whole."""
    rooms = (
        tuple(Buffer(name, "sram", 64).access() for name in names.split())
        for names in (reads, writes)
    )
    return VirtualOp(mnemonic, fields, *rooms)


def load(target: str) -> VirtualOp:
    return VirtualOp("load", {}, (), op("load", "", target).writes, prefetch=True)


def names(items: list[Item]) -> list[str]:
    """What the instructions write, in order."""
    return [item.name if isinstance(item, Label) else item.writes[0].buffer.name for item in items]


def test_the_vector_unit_works_while_the_array_does() -> None:
    """Both products come at once; what is made of the first one comes before the second's sums."""
    items: list[Item] = [
        op("matmul", "x", "p"),
        op("vmov", "p", "ps"),
        op("matmul", "x", "q"),
        op("vmov", "q", "qs"),
        op("vexp2", "ps", "e"),
        op("matmul", "e qs", "r"),
        op("vmov", "r", "rs"),
    ]
    found = order_by_products(items, [])
    assert names(found) == ["p", "q", "ps", "e", "qs", "r", "rs"]


def test_products_are_one_ahead() -> None:
    """More would fill the array's queue, for which the vector unit's instructions would wait."""
    items = [
        each
        for i in range(4)
        for each in (op("matmul", "x", f"p{i}"), op("vmov", f"p{i}", f"s{i}"))
    ]
    found = names(order_by_products([*items], []))
    assert found == ["p0", "p1", "s0", "p2", "s1", "p3", "s2", "s3"]


def test_loads_stay_in_order_before_what_uses_them() -> None:
    first, second = load("w0"), load("w1")
    items: list[Item] = [
        first,
        op("matmul", "x w0", "p"),
        second,
        op("vmov", "p", "ps"),
        op("vmul", "p w1", "v"),
        op("matmul", "ps", "q"),
    ]
    found = order_by_products(items, [])
    assert names(found) == ["w0", "p", "ps", "q", "w1", "v"]
    used_early: list[Item] = [first, second, op("vmov", "w1", "a"), op("vmov", "w0", "b")]
    assert order_by_products(used_early, []) == used_early


def test_loads_of_what_the_launch_makes_stay_where_they_are() -> None:
    """Of all that needs nothing: others come first, a load stays behind what was before it."""
    items: list[Item] = [
        op("matmul", "x", "p"),
        op("vmov", "p", "ps"),
        op("load", "", "w"),
        op("vmov", "y", "z"),
    ]
    assert names(order_by_products(items, [])) == ["p", "z", "ps", "w"]


@pytest.mark.parametrize("border", ["label", "sync", "ld", "body"])
def test_nothing_passes_a_border(border: str) -> None:
    items: list[Item] = [op("matmul", "x", "p"), op("vmov", "p", "ps"), op("matmul", "x", "q")]
    middle: list[Item] = []
    if border != "body":
        middle = [Label("here") if border == "label" else VirtualOp(border, {})]
    program: list[Item] = [*items[:2], *middle, items[2]]
    assert order_by_products(program, [2] if border == "body" else []) == program


def test_registers_are_followed() -> None:
    """r14 holds a place until the instruction that names it has been handed out."""
    r14 = Reg(14)
    items: list[Item] = [
        op("matmul", "x", "p"),
        op("matmul", "x", "q"),
        op("mul", rd=r14, rs=Reg(4), x=2),
        op("vmov", "q", "qs", a=r14),
        op("mul", rd=r14, rs=Reg(4), x=3),
        op("vmov", "p", "ps", a=r14),
    ]
    found = order_by_products(items, [])
    assert [item for item in found if item in items[2:]] == items[2:]


def random_program(seed: int, length: int = 80) -> list[Item]:
    dice = rng(seed)

    def accesses(count: int) -> tuple[Access, ...]:
        rooms = (ROOMS[i] for i in dice.choice(len(ROOMS), count, False))
        starts = dice.integers(0, 3, count) * 16
        return tuple(Access(r, int(s), int(s) + 32) for r, s in zip(rooms, starts, strict=True))

    items: list[Item] = []
    for _ in range(length):
        kind = str(dice.choice(["load", "store", "matmul", "vadd", "vmov", "vmov", "add"]))
        fields: dict[str, FieldValue] = {"rs": Reg(int(dice.integers(0, 4)))}
        if kind == "add":
            fields["rd"] = Reg(int(dice.integers(1, 4)))
            items.append(VirtualOp(kind, fields))
        else:
            items.append(VirtualOp(kind, fields, accesses(2), accesses(1)))
    return items


def conflict(a: VirtualOp, b: VirtualOp) -> bool:
    """Whether the two must stay in order: they touch the same, and one of them writes it."""

    def touched(item: VirtualOp, written: bool) -> np.ndarray:
        found = np.zeros((len(ROOMS) + 1, 96), bool)
        for access in item.writes if written else item.reads:
            found[ROOMS.index(access.buffer), access.start : access.end] = True
        for name, value in item.fields.items():
            if isinstance(value, Reg) and value.index and (name == "rd") == written:
                found[-1, value.index] = True
        return found

    both = touched(a, True) | touched(a, False)
    return bool((both & touched(b, True)).any() or (touched(a, True) & touched(b, False)).any())


@pytest.mark.parametrize("seed", range(12))
def test_what_touches_the_same_stays_in_order(seed: int) -> None:
    items = random_program(seed)
    found = order_by_products(items, [])
    place = {id(item): index for index, item in enumerate(found)}
    assert sorted(place) == sorted(map(id, items))
    for a, b in itertools.combinations(items, 2):
        assert isinstance(a, VirtualOp)
        assert isinstance(b, VirtualOp)
        same_array = a.mnemonic == b.mnemonic == "matmul"
        if same_array or conflict(a, b):
            assert place[id(a)] < place[id(b)]
