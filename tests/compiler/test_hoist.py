"""Loads come early where there is room: small programs written by hand and random ones."""

import itertools

import pytest

from compiler.allocate import STORE_LAG, DoesNotFit
from compiler.hoist import hoist_loads
from compiler.virtual import Item, Label, VirtualOp
from isa.config import load_config
from tests.compiler.test_schedule import op, sram
from tests.support import rng

UNIT = 64  # bytes
TINY = load_config("tiny").replace(queue_depth=4)


def chip(units: int, depth: int = 64):
    """A chip whose SRAM is a few hundred bytes; ``depth``: of a queue."""
    return TINY.replace(sram_bytes=4096, queue_depth=depth), sram("rest", 4096 - units * UNIT)


def load(buffer, **rest) -> VirtualOp:
    return op("load", (), (buffer,), prefetch=True, **rest)


def filled(items: list[Item], rest) -> list[Item]:
    """The program while the rest of the SRAM is in use."""
    return [op("vmov", (), (rest,)), *items, op("vmov", (rest,), ())]


def order(items: list[Item]) -> str:
    """The buffers' names where they are loaded, and in capitals where they are used."""
    letters = []
    for item in items:
        if isinstance(item, VirtualOp) and item.mnemonic == "load":
            letters.append(item.writes[0].buffer.name)
        elif isinstance(item, VirtualOp) and item.mnemonic == "matmul":
            letters.append(item.reads[0].buffer.name.upper())
    return "".join(letters)


def in_turn(names: str) -> list[Item]:
    return [each for name in names for each in (load(sram(name)), op("matmul", (sram(name),), ()))]


@pytest.mark.parametrize(
    ("units", "wanted"),
    [(1, "aAbBcCdDeE"), (2, "abAcBdCeDE"), (3, "abcAdBeCDE"), (5, "abcdeABCDE")],
)
def test_loads_come_when_the_last_one_leaves_their_room(units: int, wanted: str):
    config, rest = chip(units)
    moved, addresses = hoist_loads(filled(in_turn("abcde"), rest), [0, 1], config)
    assert order(moved) == wanted
    assert len({addresses[name] for name in "abcde"}) == units


@pytest.mark.parametrize(("depth", "wanted"), [(2, "abcAdBeCfDEF"), (4, "abcdeAfBCDEF")])
def test_no_more_loads_ahead_than_the_queue_has_places(depth: int, wanted: str):
    """Beside the one in the engine. The sequencer would wait there, with products behind it whose
    weights have come."""
    config, rest = chip(6, depth)
    assert order(hoist_loads(filled(in_turn("abcdef"), rest), [0, 1], config)[0]) == wanted


@pytest.mark.parametrize("seed", range(12))
def test_nothing_overlaps_and_everything_keeps_its_order(seed: int):
    """Random sizes, with other buffers between; what lives together has rooms of its own."""
    random = rng(seed)
    config, rest = chip(20, 2 ** int(random.integers(1, 5)))
    items: list[Item] = []
    for number in range(30):
        weights = sram(f"w{number}", UNIT * int(random.integers(1, 7)))
        items += [load(weights), op("vnop"), op("matmul", (weights,), ())]
        if random.random() < 0.4:
            sums = sram(f"s{number}", UNIT * int(random.integers(1, 9)))
            items += [op("vmov", (), (sums,)), op("vnop"), op("vmov", (sums,), ())]
    program = filled(items, rest)
    moved, addresses = hoist_loads(program, [0, 1], config)
    assert [i for i in moved if i.mnemonic == "load"] == [i for i in items if i.mnemonic == "load"]
    assert [i for i in moved if i.mnemonic != "load"] == [
        i for i in program if i.mnemonic != "load"
    ]
    spans: dict[str, list[int]] = {}
    buffers = {}
    for time, item in enumerate(moved):
        for access in (*item.reads, *item.writes):
            buffers[access.buffer.name] = access.buffer
            spans.setdefault(access.buffer.name, []).append(time)
    for name, buffer in buffers.items():
        assert 0 <= addresses[name] <= config.sram_bytes - buffer.size
    for a, b in itertools.combinations(buffers, 2):
        if max(spans[a][0], spans[b][0]) <= min(spans[a][-1], spans[b][-1]):
            ends = [addresses[name] + buffers[name].size for name in (a, b)]
            assert ends[0] <= addresses[b] or ends[1] <= addresses[a], (a, b)
    first = [moved.index(load) for load in items if load.mnemonic == "load"]
    assert any(moved[i + 1].mnemonic == "load" for i in first)  # some have come early


def test_what_cannot_be_loaded_does_not_fit():
    config, rest = chip(2)
    wide = load(sram("w", 3 * UNIT))
    with pytest.raises(DoesNotFit):
        hoist_loads(filled([wide, op("matmul", (sram("w", 3 * UNIT),), ())], rest), [0, 1], config)


def test_loads_whose_room_others_would_take():
    """What is stored keeps its room for a while, unless that leaves a load without any."""
    config, rest = chip(2)
    stored = sram("s")
    items: list[Item] = [op("vmov", (), (stored,)), op("store", (stored,), ())]
    wide = sram("w", 2 * UNIT)
    items += [load(wide), op("matmul", (wide,), ())]
    assert len(items) < STORE_LAG
    moved, addresses = hoist_loads(filled(items, rest), [0, 1], config)
    assert addresses["s"] in (addresses["w"], addresses["w"] + UNIT)
    assert moved[3].mnemonic == "load"


def test_a_load_that_would_find_only_gaps_keeps_its_room():
    """Of a, b, c side by side b goes: there, and behind c, are two gaps, each half as large."""
    config, rest = chip(4)
    a, b, c, wide = sram("a"), sram("b"), sram("c"), sram("w", 2 * UNIT)
    made: list[Item] = [op("vmov", (), (each,)) for each in (a, b, c)]
    used = [op("vmov", (b,), ()), load(wide), op("matmul", (wide,), ()), op("vmov", (a, c), ())]
    _, addresses = hoist_loads(filled([*made, *used], rest), [0, 1], config)
    assert addresses["b"] in (addresses["w"], addresses["w"] + UNIT)


def test_what_a_load_needs_before_it_goes_with_it():
    config, rest = chip(2)
    make = op("add")
    items = [*in_turn("a"), load(sram("b"), setup=(make,)), op("matmul", (sram("b"),), ())]
    moved, _ = hoist_loads(filled(items, rest), [0, 1], config)
    assert order(moved) == "abAB"
    assert moved[moved.index(items[2]) - 1] is make


def test_no_load_waits_where_nobody_comes():
    """Between the branch back and the label at which the loop is left: room is there, but the
    place is passed by."""
    weights, wide = sram("w", UNIT), sram("wide", 4 * UNIT)
    loop: list[Item] = [Label("again"), op("beq"), op("sync"), op("vmov", (), (wide,))]
    back = VirtualOp("beq", {"y": Label("again")}, (wide.access(),))
    after: list[Item] = [Label("end"), op("sync"), load(weights), op("matmul", (weights,), ())]
    config, rest = chip(4)
    moved, _ = hoist_loads(filled([op("sync"), *loop, back, *after], rest), [0], config)
    assert moved[-5:-1] == after


@pytest.mark.parametrize(("units", "early"), [(5, True), (4, False)])
def test_no_load_waits_inside_a_loop_that_it_passes(units: int, early: bool):
    """Behind it, it comes behind the `sync`, which all iterations are before."""
    weights, wide = sram("w", UNIT), sram("wide", 4 * UNIT)
    loop: list[Item] = [Label("again"), op("vmov", (), (wide,)), op("vmov", (wide,), ())]
    back = VirtualOp("beq", {"y": Label("again")})
    last = load(weights)
    items = [op("sync"), *loop, back, op("sync"), last, op("matmul", (weights,), ())]
    config, rest = chip(units)
    moved, _ = hoist_loads(filled(items, rest), [1], config)
    before = moved[moved.index(last) - 1]
    assert isinstance(before, VirtualOp)
    assert before.mnemonic == ("vmov" if early else "sync")
    assert moved.index(last) == (1 if early else len(items) - 1)


@pytest.mark.parametrize(("early", "passing"), [(0, 0), (64, 1), (191, 2), (192, 3), (999, 4)])
def test_the_first_loads_pass_the_gather_of_the_tokens_rows(early: int, passing: int):
    """As many as fit ``early`` bytes; the others come behind it, as it is wanted first."""
    buffers = [sram(f"w{i}") for i in range(5)]
    rows = [op("load"), op("gather")]
    loads = [load(buffer) for buffer in buffers]
    uses = [op("matmul", (buffer,), ()) for buffer in buffers]
    items: list[Item] = [op("sync"), *rows, *loads[:4], *uses[:4], loads[4], uses[4]]
    moved, _ = hoist_loads(items, [1], TINY, early_bytes=early)
    assert moved[1 : 1 + passing] == loads[:passing]
    assert moved[1 + passing : 3 + passing] == rows
    assert moved[3 + passing : 7] == loads[passing:4]
    assert [item for item in moved if item in loads] == loads
