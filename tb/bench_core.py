"""Bench of the whole core: programs for all engines against the functional simulator.

Parameters: `image` (a file), `stall`, `latency`.
"""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from isa.counters import COUNTER_BITS, COUNTERS
from isa.image import load_image
from sim.functional import FunctionalCore
from tb.axi_memory import AxiMemory
from tb.runner import bench_parameters

_LIMIT = 40_000  # cycles


async def _start(dut, image) -> AxiMemory:
    """Clock, memory and reset; returns the memory."""
    sizes, content = bench_parameters(), bytearray(image.memory().tobytes())
    beat = image.config.axi_bytes
    memory = AxiMemory(dut, content, beat, sizes["stall"], sizes["latency"])
    memory.prepare()
    dut.start.value = 0
    dut.code_base.value = 0
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    cocotb.start_soon(memory.run())
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    return memory


async def _run(dut) -> None:
    """One program, from `start` to `halted` or `trap`."""
    dut.start.value = 1
    await FallingEdge(dut.clk)
    dut.start.value = 0
    for _ in range(_LIMIT):
        await FallingEdge(dut.clk)
        if int(dut.halted.value) or int(dut.trap.value):
            return
    raise AssertionError(f"neither halted nor trapped after {_LIMIT} cycles")


def _counters(dut) -> dict[str, int]:
    packed, mask = int(dut.counters.value), (1 << COUNTER_BITS) - 1
    return {name: packed >> COUNTER_BITS * i & mask for i, name in enumerate(COUNTERS)}


@cocotb.test()
async def program_agrees_twice(dut) -> None:
    """HBM and counters as the functional simulator's, also when started again without a reset."""
    image = load_image(bench_parameters()["image"])
    memory = await _start(dut, image)
    expected = image.memory()
    functional = FunctionalCore(image.config)
    functional.load(image, expected)
    for _ in range(2):
        counters = functional.run()
        await _run(dut)
        assert int(dut.halted.value)
        wrong = np.flatnonzero(np.frombuffer(bytes(memory.memory), np.uint8) != expected)
        assert not len(wrong), f"{len(wrong)} bytes of HBM differ, first 0x{wrong[0]:x}"
        assert _counters(dut) == counters
        assert int(dut.cycles.value) > 100


@cocotb.test()
async def illegal_opcode_traps_for_good(dut) -> None:
    """The trap names the instruction; only a reset lets the core start again."""
    memory = await _start(dut, load_image(bench_parameters()["image"]))
    memory.memory[: 64 * 64] = bytes(64 * 64)
    memory.memory[0] = 0x10  # lnop, then the illegal 0
    await _run(dut)
    assert int(dut.trap.value)
    assert int(dut.trap_pc.value) == 1
    dut.start.value = 1
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    assert int(dut.trap.value)
    assert not int(dut.halted.value)
