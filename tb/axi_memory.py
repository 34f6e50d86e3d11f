"""An AXI4 memory for cocotb benches: random stalls on every channel, order kept per id only."""

import random

from cocotb.triggers import FallingEdge, Timer

OKAY, SLVERR = 0, 2  # AXI's answers


class AxiMemory:
    """Serves the port `axi_*` of ``dut`` from ``memory``; start `run` as a task.

    Drives its outputs after falling edges and looks at the core's just after. What lies at or
    behind ``limit``, at first the end of ``memory``, answers with an error and is not written;
    below a greater limit the memory comes again and again.
    """

    def __init__(self, dut, memory: bytearray, beat_bytes: int, stall: float, latency: int) -> None:
        self.dut, self.memory, self.beat_bytes = dut, memory, beat_bytes
        self.stall, self.latency, self.cycle = stall, latency, 0
        self.reads: list[list[int]] = []  # [id, address, beats left, cycle from which they come]
        self.asked: dict[str, list[tuple[int, int]]] = {"ar": [], "aw": []}  # (id, address)
        self.limit = len(memory)
        self.writes: list[list[int]] = []  # [id, address, beats left, response]
        self.beats: list[tuple[int, int, int]] = []  # (data, strobes, last)
        self.responses: list[tuple[int, int, int]] = []  # (id, cycle from which it comes, code)
        self.offered: list[int] | None = None  # the read whose beat is on the bus

    async def run(self) -> None:
        """Serve for ever."""
        while True:
            await FallingEdge(self.dut.clk)
            self._drive()
            await Timer(1, "ns")  # lets outputs that depend on inputs settle
            self._sample()
            self.cycle += 1

    def prepare(self) -> None:
        """Idle inputs, before the first clock edge."""
        for name in ("arready", "awready", "wready", "rvalid", "rid", "rdata", "rresp", "rlast"):
            getattr(self.dut, f"axi_{name}").value = 0
        for name in ("bvalid", "bid", "bresp"):
            getattr(self.dut, f"axi_{name}").value = 0

    def _get(self, name: str) -> int:
        return int(getattr(self.dut, f"axi_{name}").value)

    def _set(self, name: str, value: int) -> None:
        getattr(self.dut, f"axi_{name}").value = value

    def _go(self) -> bool:
        return random.random() >= self.stall

    def _sample(self) -> None:
        """Handshakes of the coming rising edge; the core's outputs have settled."""
        if self._get("rvalid") and self._get("rready"):
            burst = self.offered
            burst[1] += self.beat_bytes
            burst[2] -= 1
            if burst[2] == 0:
                self.reads.remove(burst)
            self.offered = None
        for channel, asked in self.asked.items():
            if self._get(f"{channel}valid") and self._get(f"{channel}ready"):
                asked.append((self._get(f"{channel}id"), self._get(f"{channel}addr")))
        if self._get("arvalid") and self._get("arready"):
            burst = [self._get("arid"), self._get("araddr"), self._get("arlen") + 1]
            self.reads.append([*burst, self.cycle + self.latency])
        if self._get("awvalid") and self._get("awready"):
            burst = [self._get("awid"), self._get("awaddr"), self._get("awlen") + 1]
            self.writes.append([*burst, OKAY])
        if self._get("wvalid") and self._get("wready"):
            self.beats.append((self._get("wdata"), self._get("wstrb"), self._get("wlast")))
        if self._get("bvalid"):
            assert self._get("bready")
            self.responses.pop(0)
        while self.writes and self.beats:
            self._write(*self.beats.pop(0))

    def _write(self, data: int, strobes: int, last: int) -> None:
        burst = self.writes[0]
        if not self._inside(burst[1]):
            burst[3], strobes = SLVERR, 0
        for index, byte in enumerate(data.to_bytes(self.beat_bytes, "little")):
            if strobes >> index & 1:
                self.memory[self._place(burst[1]) + index] = byte
        burst[1] += self.beat_bytes
        burst[2] -= 1
        assert last == (burst[2] == 0), "the last beat of a burst, and no other, must be marked"
        if last:
            self.responses.append((burst[0], self.cycle + self.latency, burst[3]))
            self.writes.pop(0)

    def _place(self, address: int) -> int:
        return address % len(self.memory)

    def _inside(self, address: int) -> bool:
        return address + self.beat_bytes <= self.limit

    def _drive(self) -> None:
        for name in ("arready", "awready", "wready"):
            self._set(name, self._go())
        if self.offered is None:
            self._offer_beat()
        ready = bool(self.responses) and self.responses[0][1] <= self.cycle and self._go()
        self._set("bvalid", ready)  # the core takes every response at once
        self._set("bid", self.responses[0][0] if ready else 0)
        self._set("bresp", self.responses[0][2] if ready else OKAY)

    def _offer_beat(self) -> None:
        """A beat of any id whose oldest burst is due: ids may overtake each other."""
        due, seen = [], set()
        for burst in self.reads:
            if burst[0] not in seen and burst[3] <= self.cycle:
                due.append(burst)
            seen.add(burst[0])
        valid = bool(due) and self._go()
        self._set("rvalid", valid)
        if not valid:
            return
        self.offered = burst = random.choice(due)
        place = self._place(burst[1])
        data = bytes(self.memory[place : place + self.beat_bytes])
        self._set("rid", burst[0])
        self._set("rresp", OKAY if self._inside(burst[1]) else SLVERR)
        self._set("rdata", int.from_bytes(data, "little"))
        self._set("rlast", burst[2] == 1)
