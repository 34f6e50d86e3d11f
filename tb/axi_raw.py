"""Bursts of any kind on cocotbext-axi's channels, which its master would never make."""

import random
from collections import deque
from dataclasses import dataclass

from cocotb.triggers import RisingEdge
from cocotbext.axi.axi_channels import (
    AxiARBus,
    AxiARSource,
    AxiARTransaction,
    AxiAWBus,
    AxiAWSource,
    AxiAWTransaction,
    AxiBBus,
    AxiBSink,
    AxiRBus,
    AxiRSink,
    AxiWBus,
    AxiWSource,
    AxiWTransaction,
)

from tb.axi_pauses import pause, quiet

OKAY, SLVERR = 0, 2
INCR = 1


@dataclass(frozen=True)
class Burst:
    """``size`` and ``kind`` are AxSIZE and AxBURST; ``wrong``: it must be refused."""

    identity: int
    address: int
    beats: int
    size: int
    kind: int
    wrong: bool


class RawReads:
    """The read channels of the port `axi_*`. Beats come in the order of the bursts; `memory` says
    what those without an error hold."""

    def __init__(self, dut, memory: bytearray, stall: float) -> None:
        quiet(dut, "axi")
        clock = dut.clk, dut.rst
        self._asks = AxiARSource(AxiARBus.from_prefix(dut, "axi"), *clock)
        self._beats = AxiRSink(AxiRBus.from_prefix(dut, "axi"), *clock)
        for channel in (self._asks, self._beats):
            pause(channel, stall)
        self._memory, self._width = memory, len(dut.axi_rdata) // 8
        self._due: deque[Burst] = deque()

    def send(self, burst: Burst) -> None:
        names = ("arid", "araddr", "arlen", "arsize", "arburst")
        self._asks.send_nowait(AxiARTransaction(**_request(names, burst)))
        self._due.append(burst)

    async def finish(self) -> None:
        """Compare all beats."""
        while self._due:
            burst = self._due.popleft()
            answer = SLVERR if burst.wrong else OKAY
            for index in range(burst.beats):
                beat = await self._beats.recv()
                got = int(beat.rid), int(beat.rresp), int(beat.rlast)
                assert got == (burst.identity, answer, index == burst.beats - 1), (burst, got)
                at = burst.address // self._width * self._width + index * self._width
                held = int.from_bytes(self._memory[at : at + self._width], "little")
                assert burst.wrong or int(beat.rdata) == held, f"{burst}: beat {index}"


class RawWrites:
    """The write channels, in the same way; what is not refused is written to ``memory`` too."""

    def __init__(self, dut, memory: bytearray, stall: float) -> None:
        quiet(dut, "axi")
        clock = dut.clk, dut.rst
        self._asks = AxiAWSource(AxiAWBus.from_prefix(dut, "axi"), *clock)
        self._beats = AxiWSource(AxiWBus.from_prefix(dut, "axi"), *clock)
        self._answers = AxiBSink(AxiBBus.from_prefix(dut, "axi"), *clock)
        for channel in (self._asks, self._beats, self._answers):
            pause(channel, stall)
        self._memory, self._width, self._clock = memory, len(dut.axi_wdata) // 8, dut.clk
        self._due: deque[Burst] = deque()

    def send(self, burst: Burst) -> None:
        names = ("awid", "awaddr", "awlen", "awsize", "awburst")
        self._asks.send_nowait(AxiAWTransaction(**_request(names, burst)))
        self._due.append(burst)
        first = burst.address // self._width * self._width
        for index in range(burst.beats):
            data, strobes = random.randbytes(self._width), random.getrandbits(self._width)
            beat = {"wdata": int.from_bytes(data, "little"), "wstrb": strobes}
            last = int(index == burst.beats - 1)
            self._beats.send_nowait(AxiWTransaction(**beat, wlast=last))
            for place, byte in enumerate(data):
                if strobes >> place & 1 and not burst.wrong:
                    self._memory[first + index * self._width + place] = byte

    async def finish(self) -> None:
        """Compare all answers."""
        while self._due:
            burst = self._due.popleft()
            answer = await self._answers.recv()
            got = int(answer.bid), int(answer.bresp)
            assert got == (burst.identity, SLVERR if burst.wrong else OKAY), (burst, got)
        for _ in range(3):  # nothing else may come
            await RisingEdge(self._clock)
        assert self._answers.empty()


def _request(names: tuple[str, ...], burst: Burst) -> dict[str, int]:
    values = burst.identity, burst.address, burst.beats - 1, burst.size, burst.kind
    return dict(zip(names, values, strict=True))
