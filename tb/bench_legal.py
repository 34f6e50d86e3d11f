"""Bench of the legality check: instructions with pauses on both sides, against `isa.legal`.

Parameters: `cases` (a file: `entries` of engine, opcode, choices, operands; `faults` of cause,
where), `atoms`, `stall`.
"""

import random
from collections import deque

import cocotb
import numpy as np

from isa.traps import Cause
from tb.agents import STATES, Ports, cycle, reset, state_of
from tb.coverage import Coverage
from tb.runner import bench_parameters

_CARRIED = ("pc", "guards", "serial")  # that nobody looks at here
_PASSED = ("engine", "opcode", "choices", *_CARRIED)


class Before:
    """Offers the entries; `sent` holds what must come out."""

    def __init__(self, dut, entries: np.ndarray, faults: np.ndarray, stall: float) -> None:
        self.ports, self.stall = Ports(dut, "i"), stall
        self.left = deque(zip(entries.tolist(), faults.tolist(), strict=True))
        self.operands = entries.shape[1] - 3
        self.sent: deque[tuple[dict, list[int]]] = deque()
        self.offer: dict[str, int] | None = None

    def idle(self) -> None:
        self.ports.set("valid", 0)

    def drive(self) -> None:
        if self.offer is None and self.left and random.random() >= self.stall:
            values = self.left[0][0]
            self.offer = dict(zip(("engine", "opcode", "choices"), values[:3], strict=True))
            self.offer |= {f"operands_{i}": value for i, value in enumerate(values[3:])}
            self.offer |= {n: random.getrandbits(self.ports.width(n)) for n in _CARRIED}
        self.ports.set("valid", self.offer is not None)
        for name, value in (self.offer or {}).items():
            self.ports.set(name, value)

    def sample(self) -> None:
        if self.offer is not None and self.ports.get("ready"):
            self.sent.append((self.offer, self.left.popleft()[1]))
            self.offer = None


class Behind:
    """Takes what comes, and compares it with what was sent."""

    def __init__(self, dut, before: Before, cover: Coverage, stall: float) -> None:
        self.ports, self.before, self.cover, self.stall = Ports(dut, "o"), before, cover, stall

    def idle(self) -> None:
        self.ports.set("ready", 0)

    def drive(self) -> None:
        self.ready = random.random() >= self.stall
        self.ports.set("ready", self.ready)

    def sample(self) -> None:
        state = state_of(self.ports.get("valid"), self.ready)
        self.cover.hit("output", state)
        if state != "taken":
            return
        offer, fault = self.before.sent.popleft()
        for name in (*_PASSED, *(f"operands_{i}" for i in range(self.before.operands))):
            assert self.ports.get(name) == offer[name], f"{name} of {offer}"
        found = [self.ports.get("cause"), self.ports.get("where")]
        assert found == fault, f"{offer}: {Cause(found[0]).name} at {found[1]}, not {fault}"
        self.cover.hit("verdict", Cause(fault[0]).name)


@cocotb.test()
async def instructions(dut) -> None:
    """Each comes out as it went in, in order, with its first fault."""
    sizes, cover = bench_parameters(), Coverage("legality")
    checked = (c.name for c in Cause if Cause.REGISTER_OVERFLOW <= c < Cause.NOT_SIGNALLED)
    cover.point("verdict", {"cause": ("NONE", *checked)})
    cover.point("output", {"is": STATES})
    cases = np.load(sizes["cases"])
    before = Before(dut, cases["entries"], cases["faults"], sizes["stall"])
    behind = Behind(dut, before, cover, sizes["stall"])
    await reset(dut, [before, behind])
    dut.memory_atoms.value = sizes["atoms"]
    while before.left or before.sent:
        await cycle(dut, [before, behind])
    cover.save()
