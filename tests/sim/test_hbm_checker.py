"""Timing checker of an HBM pseudo-channel: every rule is met exactly, then missed by one cycle."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from isa.hbm import BURST_CYCLES, GENERATIONS, HbmTiming, load_generation
from sim.hbm_device import COLUMN_COMMANDS, ROW_COMMANDS, HbmDevice

ROWS = 64
Command = tuple  # (cycle, kind, bank, row or column); of PREA, the bank that a message is about
HBM3 = load_generation("hbm3").timing
EVERY = pytest.mark.parametrize("name", GENERATIONS)


def device(timing: HbmTiming) -> HbmDevice:
    """With any timing, also one that no generation may have."""
    size = load_generation("hbm3").replace(rows=ROWS).bytes
    generation = SimpleNamespace(timing=timing, rows=ROWS, bytes=size)
    return HbmDevice(generation, np.zeros(size, np.uint8))


def trace(*commands: Command) -> np.ndarray:
    """Rows for `HbmDevice.run`; commands of the same cycle, one on each bus, share a row."""
    rows: dict[int, list[int]] = {}
    for cycle, kind, *place in sorted(commands, key=lambda command: command[0]):
        row = rows.setdefault(cycle, [cycle, 0, 0, 0, 0, 0, 0])
        at = 4 if kind in COLUMN_COMMANDS else 1
        row[at] = {"-": 0, **ROW_COMMANDS, **COLUMN_COMMANDS}[kind]
        row[at + 1 : at + 1 + len(place)] = place
    return np.array(list(rows.values()), np.int64).reshape(-1, 7)


def check(timing: HbmTiming, *commands: Command) -> str | None:
    checked = device(timing)
    checked.run(trace(*commands))
    return checked.violation


def said(cycle: int, kind: str, bank: int | None = None, at: int | None = None) -> str:
    """How messages name a command; of RD and WR the open row is 0."""
    words = kind if bank is None else f"{kind} bank {bank}"
    if at is not None:
        words += f" row 0 column {at}" if kind in COLUMN_COMMANDS else f" row {at}"
    return f"{words} at cycle {cycle}"


def opened(t: HbmTiming, *banks: int) -> tuple[list[Command], int]:
    """ACT of row 0 of each bank; a cycle from which they bear any command."""
    commands = [(k * t.faw, "ACT", bank, 0) for k, bank in enumerate(banks)]
    return commands, len(banks) * t.faw + t.rc


# A constraint: its name, what comes before, from which command (cycle, command, ...) to which
# (command, ...), the least distance.
Constraints = list[tuple[str, list[Command], Command, Command, int]]


def after_act(t: HbmTiming) -> Constraints:
    act, fifth = (0, "ACT", 0, 0), (t.faw, "ACT", 1, 63)
    four = [(k * (t.rrd_s + 1), "ACT", 4 * k, 9) for k in range(4)]
    return [
        ("row bus", [], act, ("PRE", 5), 2),
        ("tRCD_RD", [], act, ("RD", 0, 31), t.rcd_rd),
        ("tRCD_WR", [], act, ("WR", 0, 0), t.rcd_wr),
        *(("tRAS", [], act, second, t.ras) for second in [("PRE", 0), ("PREA", 0)]),
        ("tRC", [(t.ras, "PRE", 0)], act, ("ACT", 0, 63), t.rc),
        *(("tRRD_L", [], act, ("ACT", bank, 3), t.rrd_l) for bank in (1, 2, 3)),
        *(("tRRD_S", [], act, ("ACT", bank, 1), t.rrd_s) for bank in (4, 8, 15)),
        *(("tRRD_S", [], act, ("REFPB", bank), t.rrd_s) for bank in (1, 13)),
        ("tFAW", four[1:], four[0], ("ACT", 1, 63), t.faw),
        ("tFAW", [four[0], *four[2:], fifth], four[1], ("ACT", 5, 0), t.faw),
    ]


def after_older(t: HbmTiming) -> Constraints:
    """Not the last command of its kind counts, but the last in the group, or in the others."""
    before, ready = opened(t, 0, 1, 4)
    own, another = (0, "ACT", 0, 1), (t.rrd_s, "ACT", 4, 1)
    wr, next_wr = (ready, "WR", 0, 5), (ready + t.ccd_s, "WR", 4, 5)
    rd, next_rd = (ready, "RD", 0, 5), (ready + t.ccd_s, "RD", 4, 5)
    return [
        ("tRRD_L", [another], own, ("ACT", 1, 0), t.rrd_l),
        ("tRRD_S", [own], another, ("ACT", 8, 0), t.rrd_s),
        ("tRRD_S", [(0, "ACT", 12, 1)], another, ("ACT", 0, 0), t.rrd_s),
        ("tCCD_L", [*before, next_rd], rd, ("RD", 1, 0), t.ccd_l),
        ("tCCD_L", [*before, next_wr], wr, ("WR", 1, 0), t.ccd_l),
        ("tWTR_L", [*before, next_wr], wr, ("RD", 1, 0), t.cwl + BURST_CYCLES + t.wtr_l),
    ]


def after_pre(t: HbmTiming) -> Constraints:
    act, firsts = (0, "ACT", 6, 1), [(t.rc, "PRE", 6), (t.rc, "PREA", 6)]
    seconds = [("ACT", 6, 2), ("REFPB", 6), ("REFAB",)]
    return [("tRP", [act], first, second, t.rp) for first in firsts for second in seconds]


def after_column(t: HbmTiming) -> Constraints:
    before, ready = opened(t, 0, 1, 4)
    rd, wr = (ready, "RD", 0, 5), (ready, "WR", 0, 5)
    written, closing = t.cwl + BURST_CYCLES, [("PRE", 0), ("PREA", 0)]
    return [
        *(("tRTP", before, rd, second, t.rtp) for second in closing),
        *(("tWR", before, wr, second, written + t.wr) for second in closing),
        *(("tCCD_L", before, rd, ("RD", bank, 6), t.ccd_l) for bank in (0, 1)),
        ("tCCD_S", before, rd, ("RD", 4, 6), t.ccd_s),
        *(("tCCD_L", before, wr, ("WR", bank, 6), t.ccd_l) for bank in (0, 1)),
        ("tCCD_S", before, wr, ("WR", 4, 6), t.ccd_s),
        *(("tWTR_L", before, wr, ("RD", bank, 6), written + t.wtr_l) for bank in (0, 1)),
        ("tWTR_S", before, wr, ("RD", 4, 6), written + t.wtr_s),
        *(("tRTW", before, rd, ("WR", bank, 6), t.rtw) for bank in (0, 1, 4)),
    ]


def after_refresh(t: HbmTiming) -> Constraints:
    every, one = (9, "REFAB"), (9, "REFPB", 3)
    own = [("ACT", 3, 0), ("PRE", 3), ("REFPB", 3), ("REFAB",)]
    others = [("ACT", 2, 0), ("ACT", 8, 0), ("REFPB", 2), ("REFPB", 8)]
    return [
        *(("tRFCab", [], every, second, t.rfc_ab) for second in [*own, ("PREA",)]),
        *(("tRFCpb", [], one, second, t.rfc_pb) for second in own),
        *(("tRREFD", [], one, second, t.rrefd) for second in others),
    ]


def on_data_bus(t: HbmTiming) -> Constraints:
    before, ready = opened(t, 0, 4)
    rd, wr = (ready, "RD", 0, 5), (ready, "WR", 0, 5)
    return [
        *(("data bus", before, rd, ("RD", bank, 0), BURST_CYCLES) for bank in (0, 4)),
        *(("data bus", before, wr, ("WR", bank, 0), BURST_CYCLES) for bank in (0, 4)),
        *(("data bus", before, rd, ("WR", k, 0), t.cl + BURST_CYCLES - t.cwl) for k in (0, 4)),
    ]


def far_groups(t: HbmTiming) -> HbmTiming:
    """What holds within a group ends well after what holds between two."""
    longer = {"rrd_l": 2 * t.rrd_s + 1, "ccd_l": 2 * t.ccd_s + 1, "wtr_l": t.wtr_s + t.ccd_s + 1}
    return replace(t, **longer)


# Where other rules hide a constraint: timings in which they do not, also impossible ones.
CASES = {
    after_act: lambda t: replace(t, rc=t.ras + t.rp + 3),
    after_older: far_groups,
    after_pre: lambda t: t,
    after_column: lambda t: t,
    after_refresh: lambda t: t,
    on_data_bus: lambda t: replace(t, ccd_s=1, ccd_l=1, rtw=1),
}


def constraints(generation: str) -> list:
    timing = load_generation(generation).timing
    return [
        pytest.param(change(timing), found, id=f"{generation}-{found[0]}-{found[2][1]}-{found[3]}")
        for case, change in CASES.items()
        for found in case(change(timing))
    ]


@pytest.mark.parametrize(
    ("timing", "constraint"), [one for name in GENERATIONS for one in constraints(name)]
)
def test_a_distance_is_met_exactly_and_missed_by_one_cycle(timing: HbmTiming, constraint: tuple):
    name, before, first, second, least = constraint
    assert check(timing, *before, first, (first[0] + least, *second)) is None
    early = (first[0] + least - 1, *second)
    texts = f"{said(*early)}, {least - 1} after {said(*first)}"
    assert check(timing, *before, first, early) == f"{name}: {texts}, at least {least}"


@pytest.mark.parametrize("field", [field for field in asdict(HBM3) if field != "refi"])
def test_every_parameter_is_felt(field: str):
    """Longer by 1, it forbids something that was legal."""

    def forbids(timing: HbmTiming, constraint: tuple) -> bool:
        _, before, first, second, least = constraint
        longer = replace(timing, **{field: getattr(timing, field) + 1})
        return check(longer, *before, first, (first[0] + least, *second)) is not None

    assert any(forbids(*one.values) for one in constraints("hbm3"))


STATES = [
    ("bank is closed", [], (9, "RD", 3, 1), None),
    ("bank is closed", [(0, "ACT", 2, 1)], (99, "WR", 3, 1), None),
    ("bank is closed", [(9, "ACT", 3, 1)], (9, "RD", 3, 1), None),
    ("bank is closed", [(0, "ACT", 3, 1), (50, "PRE", 3)], (99, "RD", 3, 0), (50, "PRE", 3)),
    ("bank is closed", [(0, "ACT", 3, 1), (50, "PREA", 3)], (99, "WR", 3, 0), (50, "PREA", 3)),
    ("bank is open", [(0, "ACT", 3, 1)], (200, "ACT", 3, 1), (0, "ACT", 3, 1)),
    ("bank is open", [(0, "ACT", 15, 1)], (200, "REFAB"), (0, "ACT", 15, 1)),
    ("bank is open", [(0, "ACT", 3, 1)], (200, "REFPB", 3), (0, "ACT", 3, 1)),
]


@pytest.mark.parametrize(("name", "before", "second", "first"), STATES)
def test_commands_find_the_bank_in_the_state_they_need(name, before, second, first):
    late = "" if first is None else f", {second[0] - first[0]} after {said(*first)}"
    text = said(*second).replace(" row 0", "")  # no row is open
    assert check(HBM3, *before, second) == f"{name}: {text}{late}"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ((1, 5, ROWS, 0, 0, 0), f"row out of range: ACT bank 5 row {ROWS} at cycle 3, at most 63"),
        ((2, 16, 0, 0, 0, 0), "bank out of range: PRE bank 16 at cycle 3, at most 15"),
        ((0, 0, 0, 1, 16, 0), "bank out of range: RD bank 16 column 0 at cycle 3, at most 15"),
        ((0, 0, 0, 2, 1, 32), "column out of range: WR bank 1 column 32 at cycle 3, at most 31"),
        ((6, 1, 0, 0, 0, 0), "unknown command: row command 6 bank 1 at cycle 3"),
        ((7, 1, 0, 0, 0, 0), "unknown command: row command 7 bank 1 at cycle 3"),
        ((0, 0, 0, 3, 1, 2), "unknown command: column command 3 bank 1 column 2 at cycle 3"),
        ((3, 99, 99, 0, 99, 99), None),  # what a command has no use for may be anything
        ((4, 99, 99, 0, 99, 99), None),
    ],
)
def test_what_does_not_exist_is_refused(fields: tuple, text: str | None):
    checked = device(HBM3)
    checked.run(np.array([[3, *fields]], np.int64))
    assert checked.violation == text


def test_a_precharge_of_a_closed_bank_does_nothing():
    t = HBM3
    opened_once = [(0, "ACT", 3, 1), (t.rc, "PRE", 3)]
    again = [(t.rc + t.rp - 2, "PREA"), (t.rc + t.rp - 1, "PRE", 3)]
    assert check(t, *opened_once, *again, (t.rc + t.rp, "ACT", 3, 1)) is None
    assert check(t, (0, "REFPB", 3), (1, "PREA"), (2, "PRE", 2), (3, "PRE", 2)) is None
    assert check(t, (0, "PRE", 3), (1, "PREA"), (2, "ACT", 3, 0)) is None


def test_both_buses_work_in_the_same_cycle():
    before, ready = opened(HBM3, 0)
    assert check(HBM3, *before, (ready, "RD", 0, 1), (ready, "ACT", 5, 1)) is None
    found = check(HBM3, *before, (ready, "RD", 0, 1), (ready, "PRE", 0))
    read = said(ready, "RD", 0, 1)
    assert found == f"tRTP: {said(ready, 'PRE', 0)}, 0 after {read}, at least {HBM3.rtp}"


def test_prea_closes_every_open_bank_and_obeys_the_rules_of_each():
    t = HBM3
    acts = [(0, "ACT", 0, 0), (t.rrd_s, "ACT", 4, 0), (2 * t.rrd_s, "ACT", 12, 0)]
    late = 2 * t.rrd_s + t.ras
    assert check(t, *acts, (late, "PREA"), (late + t.rp, "REFAB")) is None
    found = check(t, *acts, (late - 1, "PREA"))
    texts = f"{said(late - 1, 'PREA', 12)}, {t.ras - 1} after {said(*acts[2])}"
    assert found == f"tRAS: {texts}, at least {t.ras}"


def test_the_first_violation_stays():
    checked = device(HBM3)
    checked.run(trace((0, "ACT", 0, 0), (1, "PRE", 1), (1, "RD", 2, 0)))
    found = checked.violation
    checked.run(trace((2, "RD", 9, 0), (3, "REFAB")))
    assert found.startswith("bank is closed: RD bank 2")
    assert checked.violation == found


def check_deadline(t: HbmTiming, made: list[Command], cycle: int, bank: int, last: Command):
    """``bank``, refreshed with ``last``, may wait until ``cycle`` and no longer."""
    assert check(t, *made, (cycle, "-")) is None
    late = f"no refresh of bank {bank} at cycle {cycle + 1}, {cycle + 1 - last[0]} after"
    text = f"refresh postponed: {late} {said(*last)}, at most {cycle - last[0]}"
    assert check(t, *made, (cycle + 1, "-")) == text
    assert check(t, *made, (cycle + 1, "REFAB")) == text


@EVERY
def test_eight_refreshes_may_be_postponed(name: str):
    t = load_generation(name).timing
    limit = 9 * t.refi  # then nine are due
    check_deadline(t, [], limit, 0, (0, "reset"))
    check_deadline(t, [(limit, "REFAB")], 10 * t.refi, 0, (limit, "REFAB"))
    made_up = [(limit + k * t.rfc_ab, "REFAB") for k in range(5)]
    check_deadline(t, made_up, 14 * t.refi, 0, made_up[-1])


@EVERY
def test_no_bank_may_be_forgotten_by_refreshes_per_bank(name: str):
    t = load_generation(name).timing
    each = [(t.refi + bank * t.rrefd, "REFPB", bank) for bank in range(16)]
    check_deadline(t, each, 10 * t.refi, 0, each[0])
    without = [command for command in each if command[2] != 11]
    check_deadline(t, without, 9 * t.refi, 11, (0, "reset"))
    every = (5 * t.refi, "REFAB")  # counts for each of them
    check_deadline(t, [*without, every], 10 * t.refi, 11, every)


def test_refreshes_in_advance_count_up_to_eight_but_no_bank_waits_for_longer_than_nine():
    t = HBM3
    made = [(k * t.rfc_ab, "REFAB") for k in range(9)]
    last = made[-1]
    assert last[0] < t.refi  # none is due
    check_deadline(t, made, last[0] + 9 * t.refi, 0, last)
    # Eight of the nine count: the eighteenth is due in cycle 18 tREFI, nine are made then.
    made.append((last[0] + 9 * t.refi, "REFAB"))
    check_deadline(t, made, 18 * t.refi, 0, made[-1])
