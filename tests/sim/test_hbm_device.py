"""The HBM device at its port: data in time, contents, counters, and random traffic."""

import random
import re
from functools import cache

import numpy as np
import pytest

from isa.hbm import BANKS, BEAT_BYTES, COLUMN_BYTES, GENERATIONS, HbmTiming, load_generation
from sim import hbm_device
from sim.hbm_device import COLUMN_COMMANDS, ROW_COMMANDS, HbmDevice, build_device
from tests.support import rng

CODES = {**ROW_COMMANDS, **COLUMN_COMMANDS}
BUS = {**dict.fromkeys(ROW_COMMANDS, "row"), **dict.fromkeys(COLUMN_COMMANDS, "col")}
HBM3 = load_generation("hbm3").replace(rows=64)
T = HBM3.timing
EVERY = pytest.mark.parametrize("name", GENERATIONS)
ALL_BYTES = (1 << BEAT_BYTES) - 1
Command = tuple[int, str, int, int]  # cycle, kind, bank, row or column


def make(generation=HBM3, seed: int = 1) -> HbmDevice:
    """With random contents, kept as `memory`."""
    memory = rng(seed).integers(0, 256, generation.bytes, np.uint8)
    device = HbmDevice(generation, memory)
    device.memory = memory.reshape(BANKS, generation.rows, -1, COLUMN_BYTES)
    return device


def beats(column: np.ndarray) -> list[int]:
    """A column's content as the data bus shows it."""
    return [int.from_bytes(beat.tobytes(), "little") for beat in column.reshape(-1, BEAT_BYTES)]


def as_array(commands: list[Command]) -> np.ndarray:
    """Rows for `HbmDevice.run`; commands of the same cycle, one on each bus, share one."""
    rows: dict[int, list[int]] = {}
    for cycle, kind, bank, at in commands:
        place = 4 if kind in COLUMN_COMMANDS else 1
        rows.setdefault(cycle, [cycle] + [0] * 6)[place : place + 3] = CODES[kind], bank, at
    return np.array(list(rows.values()), np.int64).reshape(-1, 7)


def play(device: HbmDevice, commands: list[Command], writes=None, cycles: int = 0) -> list[int]:
    """Give commands, and ``writes`` (cycle → data, mask); in other cycles wdata is noise with a
    full mask. Plays ``cycles`` or more, counted from the present one; returns rdata of each."""
    dice, writes = random.Random(5), writes or {}
    ports = {cycle: port for cycle, *port in as_array(commands).tolist()}
    seen = [device.rdata]
    for cycle in range(max([cycles, *(last + 1 for last in ports)])):
        data, mask = writes.get(cycle, (dice.getrandbits(128), ALL_BYTES))
        seen.append(device.tick(*ports.get(cycle, [0] * 6), data, mask))
    return seen


def test_what_is_wrong_is_refused_by_name():
    memory = np.zeros(HBM3.bytes, np.uint8)
    wanted = f"memory must be a contiguous vector of {HBM3.bytes} uint8, not "
    for wrong in (memory[:-1], memory.reshape(2, -1), memory.view(np.int8)):
        with pytest.raises(ValueError, match=re.escape(f"{wanted}{wrong.dtype} {wrong.shape}")):
            HbmDevice(HBM3, wrong)
    device = HbmDevice(HBM3, memory)
    memory.flags.writeable = False
    with pytest.raises(ValueError, match="memory must be writeable"):
        HbmDevice(HBM3, memory)
    with pytest.raises(ValueError, match="cl must be at most 126 here, not 127"):
        HbmDevice(HBM3.replace(cl=127, rtw=200), np.zeros(HBM3.bytes, np.uint8))
    device.tick()
    for rows, message in [
        ([[1, 2, 3]], r"commands must be int64 \(n, 7\), not int64 \(1, 3\)"),
        ([[0] * 7], "commands must have rising cycles from 1 on"),
        ([[4] + [0] * 6] * 2, "commands must have rising cycles from 1 on"),
        ([[1, -1] + [0] * 5], "commands and addresses must be unsigned numbers of 32 bits"),
    ]:
        with pytest.raises(ValueError, match=message):
            device.run(np.array(rows, np.int64))
    with pytest.raises(ValueError, match="bit must be between 0 and 255, not 256"):
        device.inject(0, 0, 0, 256)


def test_a_failing_compiler_is_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("JALAPENO_BUILD", str(tmp_path))
    broken = tmp_path / "broken.cpp"
    broken.write_text("#error broken on purpose\n")
    monkeypatch.setattr(hbm_device, "SOURCES", (broken,))
    with pytest.raises(ValueError, match=r"building the HBM device failed at g\+\+:\n.*on purpose"):
        build_device()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"needs g\+\+, which is not installed"):
        build_device()
    assert not list(tmp_path.glob("hbm/*.so"))


@EVERY
def test_a_read_shows_its_two_beats_at_cl_and_noise_around_them(name: str):
    generation = load_generation(name).replace(rows=4)
    t, device = generation.timing, make(generation)
    first = t.rcd_rd + t.cl
    seen = play(device, [(0, "ACT", 5, 3), (t.rcd_rd, "RD", 5, 17)], cycles=first + 20)
    assert seen[first : first + 2] == beats(device.memory[5, 3, 17])
    assert len(set(seen)) == len(seen)  # all others are noise
    assert device.violation is None


@EVERY
def test_a_write_takes_its_two_beats_at_cwl(name: str):
    generation = load_generation(name).replace(rows=4)
    t, device = generation.timing, make(generation)
    before, first = device.memory.copy(), t.rcd_wr + t.cwl
    writes = [(data, ALL_BYTES) for data in beats(np.arange(32, dtype=np.uint8))]
    play(device, [(0, "ACT", 14, 2), (t.rcd_wr, "WR", 14, 31)], cycles=first)
    assert np.array_equal(device.memory, before)
    play(device, [], dict(enumerate(writes)), cycles=20)  # goes on in cycle `first`
    before[14, 2, 31] = np.arange(32)
    assert np.array_equal(device.memory, before)
    assert device.violation is None


@pytest.mark.parametrize("closing", ["PRE", "PREA"])
def test_a_closed_bank_gives_noise_and_takes_nothing(closing: str):
    device, before = make(), make().memory
    commands = [(0, "ACT", 1, 0), (T.ras, closing, 1, 0), (90, "RD", 1, 0), (92, "WR", 2, 0)]
    seen = play(device, commands, cycles=200)
    assert len(set(seen) - set(beats(before[1, 0, 0]))) == len(seen)
    assert np.array_equal(device.memory, before)
    assert device.violation.startswith("bank is closed: RD bank 1 column 0 at cycle 90")
    assert device.counters["outside"] == 2


@pytest.mark.parametrize("bit", [0, 7, 100, 127, 128, 255])
def test_a_fault_flips_a_bit_that_is_read(bit: int):
    device, times = make(), (50, 60, 70)
    stored = int.from_bytes(device.memory[3, 9, 7].tobytes(), "little")
    device.inject(3, 9, 7, bit)
    device.inject(3, 9, 7, bit ^ 1, stuck=True)
    for other in [(2, 9, 7), (3, 8, 7), (3, 9, 6)]:
        device.inject(*other, bit, stuck=True)
    commands = [(0, "ACT", 3, 9), *((cycle, "RD", 3, 7) for cycle in times)]
    seen = play(device, commands, cycles=100)
    read = [seen[cycle + T.cl] | seen[cycle + T.cl + 1] << 128 for cycle in times]
    stuck = stored ^ 1 << (bit ^ 1)
    assert read == [stuck ^ 1 << bit, stuck, stuck]
    assert int.from_bytes(device.memory[3, 9, 7].tobytes(), "little") == stored


def test_counters():
    device, closing = make(), 200 + T.cwl + 2 + T.wr
    again, last = closing + T.rp, closing + T.rp + T.rcd_rd
    refresh = last + 90 + T.rp
    commands = [
        *((0, "ACT", 0, 1), (5, "ACT", 1, 1), (9, "PRE", 9, 0)),
        *((50, "RD", 0, 1), (54, "RD", 0, 2), (58, "RD", 1, 2)),
        *((100, "WR", 1, 4), (104, "WR", 1, 6), (200, "WR", 1, 5), (closing, "PREA", 0, 0)),
        *((again, "ACT", 0, 1), (last, "RD", 0, 1), (last + 90, "PRE", 0, 0)),
        *((refresh, "REFAB", 0, 0), (refresh + T.rfc_ab, "REFPB", 4, 0)),
    ]
    play(device, commands)
    assert device.violation is None
    given = {"act": 3, "pre": 2, "pre_all": 1, "rd": 4, "wr": 3, "ref_all": 1, "ref_bank": 1}
    rest = {"row_hits": 4, "data_cycles": 14, "turnarounds": 2, "outside": 0}
    assert device.counters == given | rest
    assert device.cycle == refresh + T.rfc_ab + 1


# Random traffic: each command as early as a second telling of the rules allows, or later.


@cache
def rules(t: HbmTiming) -> list[tuple[str, str, str, str, int]]:
    """First and second command, which banks (b: the same, g: another of the group, o: of another
    group), name, least distance. REFAB has the same bank as every command."""
    written = t.cwl + 2
    return [
        *(("ACT", second, "bgo", "row bus", 2) for second in ("ACT", "PRE", "REFPB")),
        ("ACT", "RD", "b", "tRCD_RD", t.rcd_rd),
        ("ACT", "WR", "b", "tRCD_WR", t.rcd_wr),
        ("ACT", "PRE", "b", "tRAS", t.ras),
        ("ACT", "ACT", "b", "tRC", t.rc),
        ("ACT", "ACT", "g", "tRRD_L", t.rrd_l),
        ("ACT", "ACT", "o", "tRRD_S", t.rrd_s),
        ("ACT", "REFPB", "go", "tRRD_S", t.rrd_s),
        *(("PRE", second, "b", "tRP", t.rp) for second in ("ACT", "REFPB", "REFAB")),
        *((kind, kind, "bg", "tCCD_L", t.ccd_l) for kind in COLUMN_COMMANDS),
        *((kind, kind, "o", "tCCD_S", t.ccd_s) for kind in COLUMN_COMMANDS),
        ("WR", "RD", "bg", "tWTR_L", written + t.wtr_l),
        ("WR", "RD", "o", "tWTR_S", written + t.wtr_s),
        ("RD", "WR", "bgo", "tRTW", t.rtw),
        ("RD", "PRE", "b", "tRTP", t.rtp),
        ("WR", "PRE", "b", "tWR", written + t.wr),
        *(("REFAB", second, "b", "tRFCab", t.rfc_ab) for second in ("ACT", "REFPB", "REFAB")),
        *(("REFPB", second, "b", "tRFCpb", t.rfc_pb) for second in ("ACT", "REFPB", "REFAB")),
        *(("REFPB", second, "go", "tRREFD", t.rrefd) for second in ("ACT", "REFPB")),
    ]


class Traffic:
    """Legal commands in rising order; ``rows``: bank → open row."""

    def __init__(self, t: HbmTiming, seed: int) -> None:
        self.t, self.dice = t, random.Random(seed)
        self.last: dict[tuple[str, int], int] = {}
        self.acts: list[int] = []
        self.rows: dict[int, int] = {}
        self.bus = {"row": -1, "col": -1}  # cycle of its last command

    def earliest(self, kind: str, bank: int) -> tuple[int, set[str]]:
        """The first cycle for a command, and the rules that forbid the one before it."""
        kind, ends = ("PRE", list(self.rows)) if kind == "PREA" else (kind, [bank])
        waits = [(0, "")]
        for (first, other), cycle in self.last.items():
            near = {"b" if end == other else "g" if end // 4 == other // 4 else "o" for end in ends}
            near = {"b"} if "REFAB" in (first, kind) else near
            found = [rule for rule in rules(self.t) if rule[:2] == (first, kind)]
            waits += [(cycle + least, name) for *_, which, name, least in found if near & {*which}]
        if kind == "ACT" and len(self.acts) >= 4:
            waits.append((self.acts[-4] + self.t.faw, "tFAW"))
        latest, _ = max(waits)
        return latest, {name for cycle, name in waits if cycle == latest}

    def free(self, kind: str) -> int:
        """First cycle in which a command comes after all others and finds its bus free."""
        return max(self.bus[BUS[kind]] + 1, *self.bus.values())

    def candidate(self) -> tuple[str, int, int]:
        """A command that the banks' states allow."""
        dice, closed = self.dice, [bank for bank in range(BANKS) if bank not in self.rows]
        kinds = ["RD"] * 6 + ["WR"] * 5 + ["PRE"] * 2 + ["PREA"] if self.rows else ["REFAB"] * 3
        kind = dice.choice(kinds + (["ACT"] * 5 + ["REFPB"] if closed else []))
        if kind in ("PREA", "REFAB"):
            return kind, 0, 0
        bank = dice.choice(closed if kind in ("ACT", "REFPB") else list(self.rows))
        return kind, bank, dice.randrange({"ACT": 3, "RD": 5, "WR": 5}.get(kind, 1))

    def next(self) -> Command:
        """The earliest of some candidates, sometimes a little later."""
        options = [self.candidate() for _ in range(self.dice.randint(1, 4))]
        times = [max(self.free(kind), self.earliest(kind, bank)[0]) for kind, bank, _ in options]
        cycle, (kind, bank, at) = min(zip(times, options, strict=True))
        cycle += self.dice.choice([0] * 9 + [1, 2, 40])
        self.bus[BUS[kind]] = cycle
        if kind == "ACT":
            self.rows[bank] = at
            self.acts.append(cycle)
        for closed in list(self.rows) if kind == "PREA" else [bank] if kind == "PRE" else []:
            del self.rows[closed]
            self.last["PRE", closed] = cycle
        if kind not in ("PRE", "PREA"):
            self.last[kind, bank] = cycle
        return cycle, kind, bank, at


@EVERY
def test_random_traffic_reads_what_was_written(name: str):
    generation = load_generation(name).replace(rows=4)
    t, device, noise = generation.timing, make(generation), rng(8)
    traffic, shadow = Traffic(t, seed=3), device.memory.copy()
    commands, writes, reads = [], {}, {}
    for _ in range(1500):
        rows = dict(traffic.rows)
        cycle, kind, bank, at = traffic.next()
        commands.append((cycle, kind, bank, at))
        if kind == "RD":
            reads[cycle + t.cl], reads[cycle + t.cl + 1] = beats(shadow[bank, rows[bank], at])
        if kind == "WR":
            data, mask = noise.integers(0, 256, 32, np.uint8), noise.integers(0, 2, 32, bool)
            masks = np.packbits(mask, bitorder="little").view(np.uint16).tolist()
            writes.update(enumerate(zip(beats(data), masks, strict=True), cycle + t.cwl))
            shadow[bank, rows[bank], at, mask] = data[mask]
    seen = play(device, commands, writes, cycles=commands[-1][0] + t.cl + t.cwl)
    assert device.violation is None
    assert {cycle: seen[cycle] for cycle in reads} == reads
    assert np.array_equal(device.memory, shadow)
    assert device.counters["data_cycles"] == len(reads) + len(writes)
    assert min(count for name, count in device.counters.items() if name != "outside") > 0
    others = [seen[cycle] for cycle in range(len(seen)) if cycle not in reads]
    assert len({*others} - {*reads.values()}) == len(others)  # noise, no beat that is not due


@EVERY
def test_random_traffic_is_legal_and_one_cycle_earlier_it_is_not(name: str):
    generation = load_generation(name).replace(rows=4)
    memory = np.zeros(generation.bytes, np.uint8)
    traffic, commands, refused = Traffic(generation.timing, seed=4), [], set()
    for _ in range(500):
        kind, bank, at = traffic.candidate()
        least, names = traffic.earliest(kind, bank)
        if least > traffic.free(kind):
            device = HbmDevice(generation, memory)
            device.run(as_array([*commands, (least - 1, kind, bank, at)]))
            rule, _, text = (device.violation or "none: none").partition(": ")
            assert rule in names
            assert re.match(f"{kind}( .*)? at cycle {least - 1}, ", text)
            refused.add(rule)
        commands.append(traffic.next())
    device = HbmDevice(generation, memory)
    device.run(as_array(commands))
    assert device.violation is None
    assert len(refused) > 10
