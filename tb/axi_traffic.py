"""Random reads and writes by cocotbext-axi's AXI4 master, against an array of bytes."""

import random
from dataclasses import dataclass

from cocotb.triggers import Event
from cocotbext.axi import AxiBus, AxiMaster, AxiResp

from tb.axi_pauses import pause_all, quiet
from tb.coverage import Coverage
from tb.memory_agents import PAGE_BYTES

KINDS = ("read", "write")
LENGTHS = ("inside a beat", "a beat", "some beats", "pages")
PLACES = ("first half", "second half")  # of a column of two beats


@dataclass
class Access:
    """A read or write of ``size`` bytes; ``done`` is set with the master's answer."""

    kind: str
    address: int
    size: int
    expected: bytes
    done: Event

    def meets(self, kind: str, address: int, size: int) -> bool:
        """The two touch a byte, and AXI does not say which comes first."""
        apart = address + size <= self.address or self.address + self.size <= address
        return not apart and kind != self.kind


class Traffic:
    """A master at the port `axi_*` of ``dut``; ``memory`` is what must be in memory.

    Reads and writes of the same bytes are never under way together, since AXI leaves their order
    open; writes of the same bytes are, and come in the order of their addresses. The master itself
    checks ids, `rlast` and the number of beats and responses.
    """

    def __init__(self, dut, memory: bytearray, cover: Coverage, stall: float) -> None:
        quiet(dut, "axi")
        self.master = AxiMaster(AxiBus.from_prefix(dut, "axi"), dut.clk, dut.rst)
        pause_all(self.master, stall)
        self.memory, self.cover = memory, cover
        self.beat = self.master.write_if.byte_lanes
        self.ids = self.master.write_if.id_count
        self.under_way: list[Access] = []
        cover.point("access", {"kind": KINDS, "length": LENGTHS})
        cover.point("under way", {"kind": KINDS, "beside": ("none", "reads", "writes", "both")})
        ends = {"starts in": PLACES, "ends in": PLACES, "at a beat": ("yes", "no")}
        cover.point("column", {"kind": KINDS, **ends})

    async def run(self, count: int, most: int, limit: int) -> None:
        """``count`` accesses below ``limit``, at most ``most`` of them under way."""
        hot = [PAGE_BYTES * random.randrange(limit // PAGE_BYTES) for _ in range(4)]
        for index in range(count):
            if index % 16 == 0:  # one at a time, or more of them
                room = random.randint(1, most)
            size = self._size()
            near = random.choice([*hot, random.randrange(limit)])
            address = min(near + random.randrange(PAGE_BYTES), limit - size)
            if random.random() < 0.4:  # whole beats
                address, size = address & -self.beat, -(-size // self.beat) * self.beat
            await self._begin(random.choice(KINDS), address, size)
            while len(self.under_way) >= room:
                await self._end(self.under_way[0])
        while self.under_way:
            await self._end(self.under_way[0])

    def _size(self) -> int:
        beat = self.beat
        return random.choice(
            [
                *(random.randint(1, beat), beat, random.randint(1, 8 * beat)),
                *(beat << random.randrange(5), random.randint(8 * beat, 600)),
                random.choice([PAGE_BYTES, random.randint(600, 6000), 100, 60]),
            ]
        )

    async def _begin(self, kind: str, address: int, size: int) -> None:
        for other in list(self.under_way):
            if other.meets(kind, address, size):
                await self._end(other)
        self._cover(kind, address, size)
        done, identity = Event(), random.randrange(self.ids)
        place = slice(address, address + size)
        if kind == "write":
            self.memory[place] = random.randbytes(size)
            self.master.init_write(address, self.memory[place], awid=identity, event=done)
        else:
            self.master.init_read(address, size, arid=identity, event=done)
        access = Access(kind, address, size, bytes(self.memory[place]), done)
        self.under_way.append(access)

    async def _end(self, access: Access) -> None:
        await access.done.wait()
        if access not in self.under_way:
            return
        self.under_way.remove(access)
        answer, where = access.done.data, f"{access.size} bytes at {access.address:#x}"
        assert answer.resp == AxiResp.OKAY, f"{access.kind} of {where}: {answer.resp}"
        if access.kind == "read":
            assert bytes(answer.data) == access.expected, f"read of {where}: other bytes"

    def _cover(self, kind: str, address: int, size: int) -> None:
        beat, last = self.beat, address + size - 1
        length = 0 if size < beat else 1 if size == beat else 2 if size < PAGE_BYTES else 3
        self.cover.hit("access", kind, LENGTHS[length])
        present = {other.kind for other in self.under_way}
        beside = "both" if len(present) == 2 else f"{present.pop()}s" if present else "none"
        self.cover.hit("under way", kind, beside)
        halves = (PLACES[end // beat % 2] for end in (address, last))
        whole = address % beat == 0 and (last + 1) % beat == 0
        self.cover.hit("column", kind, *halves, "yes" if whole else "no")
