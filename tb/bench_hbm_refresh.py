"""Bench of the refreshes of an HBM pseudo-channel, among random accesses.

Parameters: `generation`, `per_bank`, `postpone`, `cycles`.
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

_ALL = (1 << BANKS) - 1
_IDLE_CYCLES = 16
_WANTS = {"pre": "PRE", "pre_all": "PREA", "ref_all": "REFAB", "ref_bank": "REFPB"}
_DUE = ("1", "some", "most")  # refreshes that are due


class Surroundings:
    """Guard, window and device of the refreshes, and what these must do; an agent.

    `made` counts refreshes; those due follow from the time. The device's checker finds a refresh
    that comes too late.
    """

    def __init__(self, dut, sizes: dict, cover: Coverage) -> None:
        self.dut, self.cover = dut, cover
        generation = generation_of(sizes["generation"])
        self.per_bank = sizes["per_bank"]
        self.name = "bank" if self.per_bank else "all"
        banks = BANKS if self.per_bank else 1
        self.refi = generation.timing.refi
        self.interval, self.limit = self.refi // banks, sizes["postpone"] * banks
        self.times = Times(generation.timing)
        self.device = HbmDevice(generation, np.zeros(generation.bytes, np.uint8))
        self.now = self.made = self.quiet = self.until = 0
        timing = generation.timing
        self.takes = timing.rfc_pb if self.per_bank else timing.rfc_ab
        self.left = 0  # cycles until the refresh that was made last is over
        self.working, self.idle_now = False, True
        self.mood, self.rest = "long", 0

    def idle(self) -> None:
        for name in ("idle", "open", "can_pre", "can_ref_bank", "can_pre_all", "can_ref_all"):
            getattr(self.dut, name).value = 0
        self.dut.taken.value = 0

    @property
    def due(self) -> int:
        return self.now // self.interval - self.made

    @property
    def bank(self) -> int:
        return self.made % BANKS

    def drive(self) -> None:
        if self.now >= self.until:
            self._pace()
        dut, times, now = self.dut, self.times, self.now
        self.idle_now = random.random() < self.resting
        self.open = sum(1 << b for b in range(BANKS) if times.open[b] is not None)
        fit = {
            kind: sum(1 << b for b in range(BANKS) if times.in_time(kind, b, now))
            for kind in ("pre", "ref_bank")
        }
        bus = times.in_row_bus(now)
        self.can = {
            "pre": fit["pre"] & self.open,
            "pre_all": int(bus and fit["pre"] | ~self.open & _ALL == _ALL),
            "ref_bank": fit["ref_bank"] & ~self.open,
            "ref_all": int(fit["ref_bank"] == _ALL and not self.open),
        }
        dut.idle.value, dut.open.value = int(self.idle_now), self.open
        for name, value in self.can.items():
            getattr(dut, f"can_{name}").value = value
        self.taken = random.random() < 0.6
        dut.taken.value = int(self.taken)

    def _pace(self) -> None:
        """Accesses for longer than refreshes may be postponed; then rest until all that is due is
        made; then accesses and rest in turn."""
        if self.mood == "long":
            self.resting, length = random.choice([0, 0.2]), 13 * self.refi
        elif self.mood == "busy":
            self.resting, length = random.choice([0, 0.5, 0.9]), random.choice([20, 400, 1500])
        else:
            self.resting, length = 1.0, self.rest
        self.rest = 6 * self.refi if self.mood == "long" else random.choice([20, 200, 800])
        self.mood = "busy" if self.mood == "rest" else "rest"
        self.acting = random.choice([0.2, 1])
        self.until = self.now + length

    def sample(self) -> None:
        dut = self.dut
        held = 0 if not self.working else 1 << self.bank if self.per_bank else _ALL
        assert int(dut.hold.value) == held, f"cycle {self.now}: {self.due} are due"
        assert bool(dut.busy.value) == (self.working or self.left > 0), f"cycle {self.now}"
        wants = self._wants()
        for name in _WANTS:
            assert bool(getattr(dut, name).value) == (name in wants), f"cycle {self.now}: {name}"
        if self.per_bank:
            assert int(dut.bank.value) == self.bank
        self.device.tick(**self._give(wants, held))
        assert self.device.violation is None, self.device.violation
        self._step(wants)

    def _step(self, wants: set[str]) -> None:
        """The end of the cycle, with the command that was wanted in it."""
        rested = self.quiet >= _IDLE_CYCLES
        wanted = self.due > self.limit or (self.due > 0 and rested)
        if wanted and not self.working:
            self.cover.hit("begins", self.name, "nothing to do" if rested else "too many due")
        ended = bool(wants & {"ref_all", "ref_bank"}) and self.taken
        if ended:
            share = "1" if self.due == 1 else "some" if self.due <= self.limit else "most"
            self.cover.hit("made", self.name, share)
            self.cover.hit("accesses wait", self.name, "no" if self.idle_now else "yes")
        if wants:
            self.cover.hit("wanted", self.name, *wants, "yes" if self.taken else "no")
        if "pre" in wants:
            self.cover.hit("closed for its refresh", self.bank)
        self.working = not ended and (self.working or wanted)
        self.made += ended
        self.left = self.takes if ended else max(0, self.left - 1)
        self.quiet = self.quiet + 1 if self.idle_now else 0
        self.now += 1

    def _wants(self) -> set[str]:
        """The command that must be asked for."""
        if not self.working:
            return set()
        if self.per_bank:
            mine = {name: self.can[name] >> self.bank & 1 for name in ("pre", "ref_bank")}
        else:
            mine = {"pre_all": self.can["pre_all"] and self.open, "ref_all": self.can["ref_all"]}
        return {name for name, possible in mine.items() if possible}

    def _give(self, wants: set[str], held: int) -> dict[str, int]:
        """What goes to the device in this cycle: the refresh's command, or that of an access."""
        bus: dict[str, int] = {}
        for name in wants if self.taken else ():
            everywhere = name.endswith("_all")
            bus |= {"row_cmd": ROW_COMMANDS[_WANTS[name]], "row_bank": self.bank}
            kind = "pre" if name.startswith("pre") else name
            self.times.give(kind, None if everywhere else self.bank, self.now)
        shut = [b for b in range(BANKS) if self.times.open[b] is None]
        bank = random.choice(shut if shut and random.random() < 0.5 else range(BANKS))
        if self.idle_now or held >> bank & 1 or random.random() >= self.acting:
            return bus
        if self.times.open[bank] is not None:
            kind = random.choice(["read", "write"])
            if self.times.in_time(kind, bank, self.now):
                code = COLUMN_COMMANDS["RD" if kind == "read" else "WR"]
                bus |= {"col_cmd": code, "col_bank": bank}
                self.times.give(kind, bank, self.now)
            elif not bus and random.random() < 0.1 and self.times.in_time("pre", bank, self.now):
                bus |= {"row_cmd": ROW_COMMANDS["PRE"], "row_bank": bank}
                self.times.give("pre", bank, self.now)
        elif not bus and self.times.in_time("act", bank, self.now) and self.times.four(self.now):
            bus |= {"row_cmd": ROW_COMMANDS["ACT"], "row_bank": bank}
            self.times.give("act", bank, self.now)
        return bus


@cocotb.test()
async def refreshes_are_in_time(dut) -> None:
    """Made when there is nothing to do, or when too many are due, and never later than allowed."""
    sizes, cover = bench_parameters(), Coverage("hbm_refresh")
    modes = ("all", "bank")
    whys = ("nothing to do", "too many due")
    cover.point("begins", {"mode": modes, "why": whys})
    cover.point("made", {"mode": modes, "due": _DUE})
    cover.point("accesses wait", {"mode": modes, "when it is made": ("yes", "no")})
    cover.point("closed for its refresh", {"bank": range(BANKS)})
    other = "the other mode's"
    waived = {("all", n, "*"): other for n in ("pre", "ref_bank")}
    waived |= {("bank", n, "*"): other for n in ("pre_all", "ref_all")}
    cover.point("wanted", {"mode": modes, "command": _WANTS, "taken": ("yes", "no")}, waived)
    surroundings = Surroundings(dut, sizes, cover)
    await reset(dut, [surroundings])
    for _ in range(sizes["cycles"]):
        await cycle(dut, [surroundings])
    cover.save()
