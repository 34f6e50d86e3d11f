"""Bench of both DMA engines: random copies, every handshake refused at random, a byte-wise model.

Parameters: `config` (of `ChipConfig.to_dict`), `copies`, `stall`, `rows` and `planes` (of a single
copy; 0 for random ones), `latency`; `testcase` says which engine.
"""

import random
from collections.abc import Iterator

import cocotb

from isa.config import ChipConfig
from isa.rules import INDEX_BYTES
from tb.agents import STATES, Pulse, Source, SramReads, SramWrites, cycle, reset
from tb.coverage import Coverage
from tb.dma_stimulus import MEMORY_BYTES, Copies
from tb.memory_agents import ReadMemory, WriteMemory
from tb.runner import bench_parameters


def _copies(unit: str, config: ChipConfig) -> Copies:
    sizes = bench_parameters()
    short = sizes["rows"], sizes["planes"]
    return Copies(Coverage(unit), config, sizes["copies"], short, unit == "dma_load")


class Waiting:
    """What an engine says that it waits for, against the handshakes of the cycle; comes after their
    agents. A load moves with a beat; a store's beat waits for the line that is read. ``moved``:
    cycles in which a line was refused and something moved all the same, without a beat."""

    def __init__(self, dut, memory, port, numbers=None) -> None:
        self.dut, self.memory, self.port, self.numbers = dut, memory, port, numbers
        self.moved = 0

    def idle(self) -> None:
        """Drives nothing."""

    def drive(self) -> None:
        """Drives nothing."""

    def sample(self) -> None:
        bank, memory = (bool(getattr(self.dut, f"waiting_{x}").value) for x in ("bank", "memory"))
        port = self.port.state == "refused"
        numbers = self.numbers is not None and self.numbers.state == "refused"
        assert not (bank and memory)
        if self.memory.state == "taken":
            assert not bank
            assert not memory
        elif port:
            self.moved += not bank
        assert not bank or port or numbers
        assert not memory or not port


@cocotb.test()
async def loads(dut) -> None:
    """At each `done` the SRAM holds what was copied and nothing else has changed."""
    sizes = bench_parameters()
    config, stall = ChipConfig.from_dict(sizes["config"], "bench"), sizes["stall"]
    hbm, sram = random.randbytes(MEMORY_BYTES), bytearray(random.randbytes(config.sram_bytes))
    copies, expected = _copies("dma_load", config), bytearray(sram)
    memory = ReadMemory(dut, "memory", bytearray(hbm), config.axi_bytes, sizes["latency"], stall)
    port = SramWrites(dut, "port", sram, config.line_bytes, stall)
    numbers = SramReads(dut, "list", sram, config.line_bytes, stall)
    cover, granule = copies.cover, config.byte_vector_bytes
    cover.point("cycle", {"write": STATES, "beat": STATES})
    cover.point("list", {"is": STATES})
    cover.point("bursts in flight", {"count": range(config.load_bursts + 1)})
    indices = iter(range(len(copies.all)))

    def place_list(_: int) -> None:
        """What a gather is to read must be there when it begins."""
        index = next(indices)
        start = copies.all[index]["hplane"]
        for row, number in enumerate(copies.numbers.get(index, ())):
            for content in (sram, expected):
                at = start + INDEX_BYTES * row
                content[at : at + INDEX_BYTES] = number.to_bytes(INDEX_BYTES, "little")

    def expect(at_hbm: int, at_sram: int, size: int) -> None:
        for at, part in _pieces(memory, at_hbm, size):
            expected[at_sram + at : at_sram + at + part] = hbm[memory.place(at_hbm + at) :][:part]
        end = at_sram + size
        expected[end : end + -size % granule] = bytes(-size % granule)

    def observe() -> None:
        cover.hit("cycle", port.state, memory.state)
        cover.hit("list", numbers.state)
        cover.hit("bursts in flight", len(memory.queue))

    waiting = Waiting(dut, memory, port, numbers)
    agents = (memory, port, numbers, waiting)
    await _run(dut, copies, agents, (sram, expected, expect), observe, place_list)
    # The last bytes of a row that does not begin with a beat go into the next line.
    assert waiting.moved <= sum(len(list(copies.places(i))) for i in range(len(copies.all)))
    cover.save()


@cocotb.test()
async def stores(dut) -> None:
    """At each `done` HBM holds what was copied, all of it acknowledged, and nothing else."""
    sizes = bench_parameters()
    config, stall = ChipConfig.from_dict(sizes["config"], "bench"), sizes["stall"]
    hbm, sram = bytearray(random.randbytes(MEMORY_BYTES)), random.randbytes(config.sram_bytes)
    copies, expected = _copies("dma_store", config), bytearray(hbm)
    memory = WriteMemory(dut, "memory", hbm, config.axi_bytes, sizes["latency"], stall)
    port = SramReads(dut, "port", bytearray(sram), config.line_bytes, stall)
    cover = copies.cover
    cover.point("cycle", {"read": STATES, "beat": STATES})
    cover.point("order", {"taken first": ("address", "together", "beat")})
    cover.point("unanswered bursts", {"count": range(config.store_bursts + 1)})
    whole = "beats between a row's first and its last one are whole"
    bins = {"of the row": ("only", "first", "middle", "last"), "bytes": ("all", "some")}
    cover.point("strobes", bins, {("middle", "some"): whole})

    def expect(at_hbm: int, at_sram: int, size: int) -> None:
        beat, end = config.axi_bytes, at_hbm + size
        for at, part in _pieces(memory, at_hbm, size):
            start = memory.place(at_hbm + at)
            expected[start : start + part] = sram[at_sram + at :][:part]
        for at in range(at_hbm // beat * beat, end, beat):
            kind = {(1, 1): "only", (1, 0): "first", (0, 1): "last", (0, 0): "middle"}
            place = kind[at <= at_hbm, at + beat >= end]
            cover.hit("strobes", place, "all" if at_hbm <= at <= end - beat else "some")

    def observe() -> None:
        cover.hit("cycle", port.state, memory.state)
        cover.hit("unanswered bursts", memory.unanswered)

    waiting = Waiting(dut, memory, port)
    await _run(dut, copies, (memory, port, waiting), (hbm, expected, expect), observe)
    assert not waiting.moved
    for asked, beat in zip(memory.asked_at, memory.first_at, strict=True):
        cover.hit("order", "together" if asked == beat else "address" if asked < beat else "beat")
    cover.save()


def _pieces(memory, start: int, size: int) -> Iterator[tuple[int, int]]:
    """(place, size) of the parts of a row that lie together in a memory that comes again."""
    at = 0
    while at < size:
        part = min(size - at, len(memory.memory) - memory.place(start + at))
        yield at, part
        at += part


async def _run(dut, copies: Copies, sides: tuple, target: tuple, observe, on_take=None) -> None:
    """Issue all copies; compare memory, bursts and lines at each `done`."""
    (memory, port, *_), (content, expected, expect) = sides, target
    source = Source(dut, "command", bench_parameters()["stall"])
    source.queue.extend(copies.payloads())
    starts: list[int] = []  # of each copy that is taken, the bursts that were asked for before

    def take(payload: int) -> None:
        starts.append(len(memory.asked))
        if on_take:
            on_take(payload)

    source.on_take = take
    done, lines = Pulse(dut, "done"), Pulse(dut, "lines")
    agents = (source, *sides, done, lines)
    await reset(dut, agents)
    for index, copy in enumerate(copies.all):
        while not done.seen:
            await cycle(dut, agents)
            observe()
            assert done.count <= source.taken, "done without a command"
        for at_hbm, at_sram in copies.places(index):
            expect(at_hbm, at_sram, copy["bytes"])
        assert content == expected, copy
        follows = starts[index + 1] if len(starts) > index + 1 else None
        assert follows or not memory.pending, "done before memory has answered"
        copies.check(index, memory.asked[starts[index] : follows])
        assert lines.count == len(port.lines) == copies.lines(copy)
        port.lines.clear()
        lines.count, done.seen = 0, False
    await cycle(dut, agents)
    assert done.count == source.taken == len(copies.all)
