"""Bench of what an HBM controller, or all of a chip's, refuse, on cocotbext-axi's channels.

Parameters: those of `bench_hbm_axi`.
"""

import random

import cocotb
from cocotb.triggers import FallingEdge

from isa.hbm import COLUMN_BYTES
from isa.hbm_map import HbmMap
from tb.agents import shake
from tb.axi_raw import INCR, Burst, RawReads, RawWrites
from tb.coverage import Coverage
from tb.hbm_chips import generation_of
from tb.hbm_devices import Devices
from tb.memory_agents import PAGE_BYTES
from tb.runner import bench_parameters

_DRAIN = 100  # cycles from the last response until its data are in the device
_PHASES = 4
FAULTS = ("behind memory", "at its end", "far away", "crosses 4 KiB")
FAULTS += ("FIXED", "WRAP", "reserved", "narrow", "too wide")
_KINDS = {"FIXED": 0, "WRAP": 2, "reserved": 3}


class Bursts:
    """Random bursts for a memory of ``limit`` bytes. All that touch memory without a fault lie in
    pages of one parity: reads never meet writes."""

    def __init__(self, width: int, limit: int, ids: int, address_bits: int) -> None:
        self.width, self.limit, self.ids = width, limit, ids
        self.top, self.shift = 1 << address_bits, (width - 1).bit_length()

    def make(self, fault: str, single: bool, parity: int) -> Burst:
        """``fault``: one of FAULTS or nothing; ``single``: one beat, where that can be."""
        beats, width = 1 if single else self._beats(), self.width
        size, kind = self.shift, _KINDS.get(fault, INCR)
        if fault == "narrow":
            size = random.randrange(self.shift)
        if fault == "too wide":
            size = random.randint(self.shift + 1, 7)
        if fault == "crosses 4 KiB":
            beats = max(2, beats)
        address = self._page(fault, parity) + width * self._place(fault, beats)
        address += random.choice([0, random.randrange(width)])
        outside = address // width * width + width * beats > self.limit
        wrong = fault in FAULTS[3:] or outside
        return Burst(random.randrange(self.ids), address, beats, size, kind, wrong)

    def _beats(self) -> int:
        most = PAGE_BYTES // self.width
        return random.choice([2, random.randint(2, 9), random.randint(2, min(most, 40))])

    def _page(self, fault: str, parity: int) -> int:
        pages = range(parity, self.limit // PAGE_BYTES, 2)
        if fault == "at its end":
            return self.limit // PAGE_BYTES * PAGE_BYTES
        if fault == "behind memory":
            return PAGE_BYTES * (self.limit // PAGE_BYTES + random.randint(1, 4))
        if fault == "far away":  # inside memory, but for upper bits of the address
            beyond = (1 << (self.limit - 1).bit_length()) << random.randrange(10)
            return (beyond + PAGE_BYTES * random.choice(pages)) % self.top
        return PAGE_BYTES * random.choice(pages)

    def _place(self, fault: str, beats: int) -> int:
        """The first beat, in its page."""
        most = PAGE_BYTES // self.width
        if fault == "crosses 4 KiB":
            return random.randint(most - beats + 1, most - 1)
        if fault == "at its end":
            last = self.limit % PAGE_BYTES // self.width - 1
            return random.randint(max(0, last - beats + 1), min(last + 2, most - beats))
        return random.randint(0, most - beats)


@cocotb.test()
async def refused_bursts_change_nothing(dut) -> None:
    """Every beat and response of a burst that is refused is SLVERR; all others are served."""
    sizes = bench_parameters()
    mapping = HbmMap(sizes["mapping"], generation_of(sizes["generation"]), sizes["channels"])
    memory = bytearray(random.randbytes(mapping.bytes))
    cover = Coverage("hbm_refusals")
    cover.point("refused", {"kind": ("read", "write"), "fault": FAULTS, "beats": ("1", "more")},
                {("*", "crosses 4 KiB", "1"): "it takes two"})  # fmt: skip
    cover.point("in turn", {"kind": ("read", "write"), "before": (0, 1), "after": (0, 1)})
    await shake(dut)
    dut.rst.value = 1
    halves = {kind: make(dut, memory, sizes["stall"]) for kind, make in _HALVES.items()}
    devices = Devices(dut, mapping, sizes["names"], bytes(memory))
    limit = mapping.bytes - 6 * PAGE_BYTES + 27 * PAGE_BYTES // 32
    dut.memory_columns.value = limit // COLUMN_BYTES
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    devices.start()
    width, ids = len(dut.axi_wdata) // 8, 1 << len(dut.axi_awid)
    bursts = Bursts(width, limit, ids, len(dut.axi_araddr))
    for phase in range(_PHASES):
        for parity, (kind, half) in enumerate(halves.items()):
            _send(cover, kind, half, bursts, parity ^ (phase & 1))
        for half in halves.values():
            await half.finish()
    for _ in range(_DRAIN):
        await FallingEdge(dut.clk)
    assert int(dut.idle.value)
    assert devices.content() == memory
    cover.save()


_HALVES = {"read": RawReads, "write": RawWrites}


def _send(cover: Coverage, kind: str, half, bursts: Bursts, parity: int) -> None:
    """Every fault with one beat and with more, and as many bursts without a fault, in any order."""
    last_page = bursts.limit // PAGE_BYTES
    wanted = [(fault, single) for fault in (*FAULTS, *[""] * len(FAULTS)) for single in (0, 1)]
    before = None
    for fault, single in random.sample(wanted, len(wanted)):
        if fault == "at its end" and last_page % 2 != parity:
            continue
        burst = bursts.make(fault, single, parity)
        half.send(burst)
        refused = int(burst.wrong)
        if refused and fault:
            cover.hit("refused", kind, fault, "1" if burst.beats == 1 else "more")
        if before is not None:
            cover.hit("in turn", kind, before, refused)
        before = refused
