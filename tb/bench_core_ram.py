"""Bench of the core at cocotbext-axi's AXI4 memory, which checks bursts in its own way.

Parameters: `image` (a file), `stall`.
"""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge
from cocotbext.axi import AxiBus, AxiRam

from isa.config import HBM_ATOM_BYTES
from isa.image import load_image
from isa.program import decode_program
from isa.table import INSTRUCTION_BYTES
from sim.functional import FunctionalCore
from tb.agents import shake
from tb.axi_pauses import pause_all, quiet
from tb.coverage import Coverage
from tb.runner import bench_parameters

_LIMIT = 40_000  # cycles
_MOVERS = ("load", "store", "ld", "st")


@cocotb.test()
async def program_agrees(dut) -> None:
    """When the program has halted, the memory holds what the functional simulator's does."""
    sizes = bench_parameters()
    image = load_image(sizes["image"])
    content = image.memory()
    await shake(dut)
    dut.rst.value = 1
    quiet(dut, "axi")
    bus = AxiBus.from_prefix(dut, "axi")
    memory = AxiRam(bus, dut.clk, dut.rst, size=len(content))
    memory.write(0, content.tobytes())
    pause_all(memory, sizes["stall"])
    for name in ("rid", "rdata", "rresp", "rlast", "bid", "bresp"):
        # The package begins with X, and looks at `rready` all the same, which depends on `rid`.
        getattr(dut, f"axi_{name}").value = 0
    dut.start.value = 0
    dut.code_base.value = image.code_base
    dut.code_count.value = len(image.code) // INSTRUCTION_BYTES
    dut.memory_atoms.value = len(content) // HBM_ATOM_BYTES
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    await FallingEdge(dut.clk)
    dut.start.value = 1
    await FallingEdge(dut.clk)
    dut.start.value = 0
    for _ in range(_LIMIT):
        await FallingEdge(dut.clk)
        if int(dut.halted.value) or int(dut.trapped.value):
            break
    assert int(dut.halted.value)
    functional = FunctionalCore(image.config)
    functional.load(image, content)
    functional.run()
    found = np.frombuffer(memory.read(0, len(content)), np.uint8)
    wrong = np.flatnonzero(found != content)
    assert not len(wrong), f"{len(wrong)} bytes differ, first 0x{wrong[0]:x}"
    cover = Coverage("core_ram")
    cover.point("program", {"has": _MOVERS})
    for op in decode_program(bytes(image.code)):
        if op.mnemonic in _MOVERS:
            cover.hit("program", op.mnemonic)
    cover.save()
