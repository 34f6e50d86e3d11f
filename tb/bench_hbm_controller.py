"""Bench of an HBM controller, or of all of a chip's, with the devices and their checkers behind.

Parameters: `generation`, `mapping`, `channels`, `names` (of the device ports), `bursts`, `stall`,
`unit` (of the coverage), `waived` (row commands that refreshes do not use).
"""

import random
from collections import Counter

import cocotb

from isa.counters import COUNTER_BITS, HBM_COUNTERS, HBM_LATENCIES
from isa.hbm import BANK_GROUPS, BANKS_PER_GROUP, COLUMN_BYTES
from isa.hbm_map import HbmMap
from sim.hbm_device import COLUMN_COMMANDS, ROW_COMMANDS
from tb.agents import cycle, reset
from tb.coverage import Coverage
from tb.hbm_accesses import KINDS, Accesses
from tb.hbm_chips import generation_of
from tb.hbm_devices import DevicePort, Devices
from tb.memory_agents import PAGE_BYTES
from tb.runner import bench_parameters

_LIMIT = 200_000  # cycles
_DRAIN = 100  # cycles from the last answer until its data are in the device, and refreshes begin
_ROW = {code: name for name, code in ROW_COMMANDS.items()}
_COLUMN = {code: name for name, code in COLUMN_COMMANDS.items()}


class Buses:
    """Counts what is seen on the buses of a device, as `isa.counters.HBM_COUNTERS` define it."""

    def __init__(self, port: DevicePort, cover: Coverage) -> None:
        self.port, self.cover, self.before = port, cover, ""
        self.counts: Counter[str] = Counter()
        self.used: set[int] = set()  # banks whose row has been used since it was opened

    def look(self, busy: bool) -> None:
        bus = self.port.bus
        if name := _ROW.get(bus.get("row_cmd", 0)):
            self.cover.hit("row command", name, "yes" if busy else "no")
            if name == "ACT":
                self.counts["row_misses"] += 1
                self.used.discard(bus["row_bank"])
        if name := _COLUMN.get(bus.get("col_cmd", 0)):
            self.cover.hit("column command", name, bus["col_bank"] // BANKS_PER_GROUP)
            self.counts["reads" if name == "RD" else "writes"] += 1
            self.counts["row_hits"] += bus["col_bank"] in self.used
            self.used.add(bus["col_bank"])
            if self.before:
                self.cover.hit("in turn", self.before, name)
                self.counts["turnarounds"] += self.before != name
            self.before = name


def _declare(sizes: dict) -> Coverage:
    cover = Coverage(sizes["unit"])
    waived = {(kind, "no"): "only for an access" for kind in ("ACT", *sizes["waived"])}
    waived |= {(kind, "yes"): "not in this mode" for kind in sizes["waived"] if kind != "PRE"}
    cover.point("row command", {"kind": ROW_COMMANDS, "bursts under way": ("yes", "no")}, waived)
    cover.point("column command", {"kind": COLUMN_COMMANDS, "group": range(BANK_GROUPS)})
    cover.point("in turn", {"before": COLUMN_COMMANDS, "after": COLUMN_COMMANDS})
    return cover


def _compare(counters: int, seen: Counter[str]) -> None:
    """The chip's counters with what was seen on the buses; latencies only by their number, and not
    those that take longer than the bench."""
    names = [*HBM_COUNTERS, *HBM_LATENCIES]
    mask = (1 << COUNTER_BITS) - 1
    found = {n: counters >> COUNTER_BITS * place & mask for place, n in enumerate(names)}
    for name in ("reads", "writes", "row_misses", "row_hits", "turnarounds"):
        assert found[name] == seen[name], f"{name}: {found[name]}, {seen[name]} were seen"
    assert found["ecc_corrected"] == 0


@cocotb.test()
async def random_bursts(dut) -> None:
    """Every beat is what was written last; no rule of the device is broken; in the end it holds
    all that was written, and nothing else."""
    sizes = bench_parameters()
    mapping = HbmMap(sizes["mapping"], generation_of(sizes["generation"]), sizes["channels"])
    memory = bytearray(random.randbytes(mapping.bytes))
    # All but the lowest bits are 1: a wrong bit of a burst's end shows.
    cover, limit = _declare(sizes), mapping.bytes - 4 * PAGE_BYTES - 2 * COLUMN_BYTES
    devices = Devices(dut, mapping, sizes["names"], bytes(memory))
    accesses = Accesses(dut, memory, limit, sizes["bursts"], sizes["stall"], cover)
    buses = [Buses(port, cover) for port in devices.agents]
    agents = [*accesses.agents, *devices.agents]
    await reset(dut, agents)
    dut.memory_columns.value = limit // COLUMN_BYTES
    for port in devices.agents:
        port.restart()

    async def step() -> None:
        rests = int(dut.idle.value)
        await cycle(dut, agents)
        for bus in buses:
            bus.look(bool(accesses.under_way))
            assert not (rests and bus.port.bus.get("col_cmd")), "an access out of idleness"

    for _ in range(_LIMIT):
        await step()
        if int(dut.idle.value):  # at most what is on the channels
            assert all(accesses.inside[kind] <= 1 for kind in KINDS)
        if accesses.done:
            break
    assert accesses.done, f"not answered: {accesses.under_way}"
    for _ in range(_DRAIN + mapping.generation.timing.refi):
        await step()
    assert int(dut.idle.value)
    assert devices.content() == memory
    if hasattr(dut, "counters"):
        _compare(int(dut.counters.value), sum((bus.counts for bus in buses), Counter()))
    cover.save()
