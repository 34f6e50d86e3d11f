"""Bench of the guard of an HBM scheduler, against the timing table and the times of all commands.

Parameters: `generation`, `cycles`.
"""

import random

import cocotb
import numpy as np

from isa.hbm import BANKS
from sim.hbm_device import COLUMN_COMMANDS, ROW_COMMANDS, HbmDevice
from tb.agents import cycle, reset
from tb.coverage import Coverage
from tb.hbm_chips import generation_of
from tb.hbm_timing_reference import Times
from tb.runner import bench_parameters

_ROWS = {"act": "ACT", "pre": "PRE", "pre_all": "PREA", "ref_all": "REFAB", "ref_bank": "REFPB"}
_COLUMNS = {"read": "RD", "write": "WR"}
_OF_BANKS = ("act", "pre", "read", "write", "ref_bank")
# Weights of the row commands, and of reads and writes, in the moods of the stimulus.
_MOODS = (
    {"act": 8, "pre": 1, "read": 4, "write": 4},
    {"act": 8, "pre": 8, "ref_bank": 1, "read": 1, "write": 1},
    {"act": 8, "pre": 8, "ref_bank": 1, "read": 8},
    {"act": 8, "pre": 8, "ref_bank": 1, "write": 8},
    {"act": 2, "pre": 8, "pre_all": 1, "ref_bank": 8},
    {"act": 4, "ref_bank": 1, "read": 8, "write": 1},
    {"act": 16, "pre": 16, "ref_bank": 2},
    {"act": 8, "pre_all": 2, "ref_all": 1, "read": 1, "write": 1},
    {"pre_all": 1, "ref_all": 8, "act": 1},
)


class Commands:
    """Gives commands that are allowed, and compares what the guard allows in every cycle; an agent.

    A device with its own checker gets the same commands.
    """

    def __init__(self, dut, generation, cover: Coverage) -> None:
        self.dut, self.cover, self.rows = dut, cover, generation.rows
        self.times, self.now = Times(generation.timing), 0
        memory = np.zeros(generation.bytes, np.uint8)
        self.device = HbmDevice(generation, memory)
        self.before = dict.fromkeys(_OF_BANKS, 0)
        self.until = self.turn = 0
        self.eager, self.refreshing = 0.0, False

    def idle(self) -> None:
        for name in (*_ROWS, *_COLUMNS, "bank", "row", "column_bank"):
            getattr(self.dut, name).value = 0
        self.dut.looked_up_bank.value = self.dut.looked_up_row.value = 0

    def _allowed(self) -> dict[str, int]:
        """What the guard must say: a bit for each bank, or one."""
        times, now = self.times, self.now
        closed = [row is None for row in times.open]
        of_banks = {
            name: sum(
                1 << bank
                for bank in range(BANKS)
                if closed[bank] == (name in ("act", "ref_bank")) and times.in_time(name, bank, now)
            )
            for name in _OF_BANKS
        }
        free = all(times.in_time("pre", b, now) for b in range(BANKS) if not closed[b])
        of_banks["pre_all"] = int(free and times.in_row_bus(now))
        of_banks["ref_all"] = int(of_banks["ref_bank"] == (1 << BANKS) - 1)
        of_banks["act"] *= times.four(now)
        return of_banks

    def drive(self) -> None:
        if self.now >= self.until:
            self._pace()
        self.allowed = self._allowed()
        row, row_bank = self._choose(_ROWS)
        column, column_bank = self._choose(_COLUMNS)
        if row == "pre_all" or (row == "pre" and row_bank == column_bank):
            column = None  # nobody closes a row that is used in the same cycle
        dut, self.row, self.column = self.dut, row, column
        for name in (*_ROWS, *_COLUMNS):
            getattr(dut, name).value = int(name in (row, column))
        self.places = row_bank, random.randrange(self.rows), column_bank
        dut.bank.value, dut.row.value, dut.column_bank.value = self.places
        self._look_up()

    def _pace(self) -> None:
        """A scene, of a few commands or of many, in some banks; then mostly nothing until all but
        the longest waits are over: what is waited for shows in the last commands."""
        if self.eager and random.random() < 0.7:
            self.eager, self.until = 0.0, self.now + 60
            return
        self.eager, self.mood = random.choice([0.1, 0.4, 1, 1]), random.choice(_MOODS)
        self.banks = random.sample(range(BANKS), random.choice([2, 4, BANKS, BANKS]))
        if random.random() < 0.3:  # one bank alone, each in turn
            self.mood, self.banks = random.choice(_MOODS[:4]), [self.turn]
            self.turn = (self.turn + 1) % BANKS
        self.until = self.now + random.choice([6, 12, 25, 50, 50, 250])
        if "ref_all" in self.mood:
            self.until += 600  # the longest refresh of a bank may have to end before
        elif random.random() < 0.3:
            self.refreshing = True  # any bank, beside all else

    def _choose(self, names: dict[str, str]) -> tuple[str | None, int]:
        """A command that is allowed, or None; and a bank."""
        bank = random.randrange(BANKS)
        if self.refreshing and names is _ROWS and self.allowed["ref_bank"] >> bank & 1:
            self.refreshing = False
            return "ref_bank", bank
        if random.random() >= self.eager:
            return None, bank
        wanted = [name for name in names if name in self.mood and self.allowed[name]]
        if not wanted:
            return None, bank
        name = random.choices(wanted, [self.mood[n] for n in wanted])[0]
        if name == "ref_all":
            return name, bank
        if name == "pre_all":  # without an open row it has nothing to do, and waits for nothing
            return (name, bank) if any(r is not None for r in self.times.open) else (None, bank)
        possible = [b for b in self.banks if self.allowed[name] >> b & 1]
        return (name, random.choice(possible)) if possible else (None, bank)

    def _look_up(self) -> None:
        bank, row = random.randrange(BANKS), random.randrange(self.rows)
        held = self.times.open[bank]
        if held is not None and random.random() < 0.7:
            row = random.choice([held, held ^ 1 << random.randrange(self.rows.bit_length() - 1)])
        self.dut.looked_up_bank.value, self.dut.looked_up_row.value = bank, row
        self.found = held == row
        self.cover.hit("look-up", "closed" if held is None else "found" if self.found else "other")

    def sample(self) -> None:
        dut, times = self.dut, self.times
        for name, banks in self.allowed.items():
            got = int(getattr(dut, f"can_{name}").value)
            assert got == banks, f"cycle {self.now}: can_{name} is {got:b}, not {banks:b}"
        is_open = sum(1 << bank for bank in range(BANKS) if times.open[bank] is not None)
        assert int(dut.open.value) == is_open
        assert bool(dut.found.value) == self.found
        self._cover_rules()
        self._give()
        self.now += 1

    def _cover_rules(self) -> None:
        """Which rule alone kept a command back until now."""
        for name in _OF_BANKS:
            risen = self.allowed[name] & ~self.before[name]
            for bank in range(BANKS):
                if risen >> bank & 1:
                    binding = list(self.times.just_in_time(name, bank, self.now))
                    if len(binding) == 1:
                        self.cover.hit("first cycle", name, binding[0])
            self.before[name] = self.allowed[name]

    def _give(self) -> None:
        bank, row, column_bank = self.places
        bus = {}
        if self.row:
            bus |= {"row_cmd": ROW_COMMANDS[_ROWS[self.row]], "row_bank": bank, "row_addr": row}
            everywhere = self.row in ("pre_all", "ref_all")
            kind = "pre" if self.row == "pre_all" else self.row
            self.times.give(kind, None if everywhere else bank, self.now, row)
            self.cover.hit("row command", self.row)
        if self.column:
            bus |= {"col_cmd": COLUMN_COMMANDS[_COLUMNS[self.column]], "col_bank": column_bank}
            self.times.give(self.column, column_bank, self.now)
            self.cover.hit("column command", self.column, column_bank)
        self.device.tick(**bus)
        text = self.device.violation
        assert text is None or text.startswith("refresh postponed"), text


@cocotb.test()
async def every_command_in_its_first_cycle(dut) -> None:
    """Each bit is 1 from the first cycle on in which the table allows the command, not earlier."""
    sizes, cover = bench_parameters(), Coverage("hbm_guard")
    generation = generation_of(sizes["generation"])
    commands = Commands(dut, generation, cover)
    cover.point("row command", {"kind": _ROWS})
    cover.point("column command", {"kind": _COLUMNS, "bank": range(BANKS)})
    cover.point("look-up", {"row": ("found", "other", "closed")})
    names = {name: [rule.name for rule in commands.times.rules[name]] for name in _OF_BANKS}
    names["act"] = [*names["act"], "faw"]
    every = list(dict.fromkeys(rule for some in names.values() for rule in some))
    waived = {(k, r): "no such rule" for k in names for r in every if r not in names[k]}
    cover.point("first cycle", {"of": names, "held back by": every}, waived)
    await reset(dut, [commands])
    for _ in range(sizes["cycles"]):
        await cycle(dut, [commands])
    cover.save()
