"""Bench of both DMA engines: random copies, every handshake refused at random, a byte-wise model.

Parameters: `config` (of `ChipConfig.to_dict`), `copies`, `stall`, `rows` (of a single copy; 0 for
random ones), `latency`; `testcase` says which engine.
"""

import random

import cocotb

from isa.config import ChipConfig
from tb.agents import STATES, Pulse, Source, SramReads, SramWrites, cycle, reset
from tb.coverage import Coverage
from tb.dma_stimulus import MEMORY_BYTES, Copies
from tb.memory_agents import ReadMemory, WriteMemory
from tb.runner import bench_parameters


@cocotb.test()
async def loads(dut) -> None:
    """At each `done` the SRAM holds what was copied and nothing else has changed."""
    sizes = bench_parameters()
    config, stall = ChipConfig.from_dict(sizes["config"], "bench"), sizes["stall"]
    hbm, sram = random.randbytes(MEMORY_BYTES), bytearray(config.sram_bytes)
    copies = Copies(Coverage("dma_load"), config, sizes["copies"], sizes["rows"])
    memory = ReadMemory(dut, "memory", bytearray(hbm), config.axi_bytes, sizes["latency"], stall)
    port = SramWrites(dut, "port", sram, config.line_bytes, stall)
    cover = copies.cover
    held = "beats are held up by refused writes, and by nothing else"
    cover.point(
        "cycle",
        {"write": STATES, "beat": STATES},
        {("none", "refused"): held, ("taken", "refused"): held, ("refused", "taken"): held},
    )
    cover.point("bursts in flight", {"count": range(config.load_bursts + 1)})

    def expect(expected: bytearray, at_hbm: int, at_sram: int, size: int) -> None:
        for at in range(0, size, config.axi_bytes):
            place, target = memory.place(at_hbm + at), at_sram + at
            expected[target : target + config.axi_bytes] = hbm[place : place + config.axi_bytes]

    def observe() -> None:
        cover.hit("cycle", port.state, memory.state)
        cover.hit("bursts in flight", len(memory.queue))

    await _run(dut, copies, memory, port, (sram, expect), observe)
    cover.save()


@cocotb.test()
async def stores(dut) -> None:
    """At each `done` HBM holds what was copied, all of it acknowledged, and nothing else."""
    sizes = bench_parameters()
    config, stall = ChipConfig.from_dict(sizes["config"], "bench"), sizes["stall"]
    hbm, sram = bytearray(MEMORY_BYTES), random.randbytes(config.sram_bytes)
    copies = Copies(Coverage("dma_store"), config, sizes["copies"], sizes["rows"])
    memory = WriteMemory(dut, "memory", hbm, config.axi_bytes, sizes["latency"], stall)
    port = SramReads(dut, "port", bytearray(sram), config.line_bytes, stall)
    cover = copies.cover
    cover.point("cycle", {"read": STATES, "beat": STATES})
    cover.point("order", {"taken first": ("address", "together", "beat")})

    def expect(expected: bytearray, at_hbm: int, at_sram: int, size: int) -> None:
        for at in range(0, size, config.axi_bytes):
            place, source = memory.place(at_hbm + at), at_sram + at
            expected[place : place + config.axi_bytes] = sram[source : source + config.axi_bytes]

    def observe() -> None:
        cover.hit("cycle", port.state, memory.state)

    await _run(dut, copies, memory, port, (hbm, expect), observe)
    for asked, beat in zip(memory.asked_at, memory.first_at, strict=True):
        cover.hit("order", "together" if asked == beat else "address" if asked < beat else "beat")
    cover.save()


async def _run(dut, copies: Copies, memory, port, target: tuple, observe) -> None:
    """Issue all copies; compare memory, bursts and lines at each `done`."""
    content, expect = target
    expected = bytearray(content)
    source = Source(dut, "command", bench_parameters()["stall"])
    source.queue.extend(copies.payloads())
    done, lines = Pulse(dut, "done"), Pulse(dut, "lines")
    agents = (source, memory, port, done, lines)
    await reset(dut, agents)
    for copy in copies.all:
        while not done.seen:
            await cycle(dut, agents)
            observe()
            assert done.count <= source.taken, "done without a command"
        for at_hbm, at_sram in copies.places(copy):
            expect(expected, at_hbm, at_sram, copy["bytes"])
        assert content == expected, copy
        assert not memory.pending, "done before memory has answered"
        copies.check(copy, memory.asked)
        assert lines.count == len(port.lines) == copy["rows"] * copy["bytes"] // port.line_bytes
        memory.asked.clear()
        port.lines.clear()
        lines.count, done.seen = 0, False
    await cycle(dut, agents)
    assert done.count == source.taken == len(copies.all)
