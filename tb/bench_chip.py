"""Bench of the whole chip: a host runs programs by way of the registers.

Parameter: `image`, a file.
"""

import cocotb
from cocotbext.axi import AxiResp

from isa import csr
from isa.config import HBM_ATOM_BYTES
from isa.counters import CYCLE_CLASSES
from isa.image import load_image
from isa.table import INSTRUCTION_BYTES, Engine
from isa.traps import Cause
from sim.functional import FunctionalCore
from tb.axi_memory import AxiMemory
from tb.coverage import Coverage
from tb.csr_host import Host, access_point, begin
from tb.runner import bench_parameters

LIMIT = 40_000  # cycles
cover = Coverage("csr")
access_point(cover)


async def _run(host: Host) -> int:
    """Start a program; returns the status at its end."""
    assert await host.write("control", csr.START) == AxiResp.OKAY
    for _ in range(LIMIT // 20):
        status = await host.read("status")
        if not status & csr.RUNNING:
            return status
    raise AssertionError("the program does not end")


@cocotb.test()
async def host_runs_programs(dut) -> None:
    """A whole chip: a program, its counters and classes; then one that traps."""
    image = load_image(bench_parameters()["image"])
    content = bytearray(image.memory().tobytes())
    memory = AxiMemory(dut, content, image.config.axi_bytes, stall=0.2, latency=6)
    memory.prepare()
    host = await begin(dut, "csr", stall=0.1, cover=cover)
    cocotb.start_soon(memory.run())
    count = len(image.code) // INSTRUCTION_BYTES
    await host.write("code_base", image.code_base)
    await host.write("code_count", count)
    await host.write("memory_atoms", len(content) // HBM_ATOM_BYTES)
    expected = image.memory()
    functional = FunctionalCore(image.config)
    functional.load(image, expected)
    counters = functional.run()
    assert await _run(host) == csr.HALTED
    assert bytes(memory.memory) == expected.tobytes()
    for name, value in counters.items():
        assert await host.read(name) == value, name
    cycles = await host.read("cycles_low")
    for engine in Engine:
        names = [csr.class_name(engine, name) for name in CYCLE_CLASSES]
        assert sum([await host.read(name) for name in names]) == cycles
    await host.write("code_count", count - 1)
    assert await _run(host) == csr.TRAPPED
    assert await host.read("trap_cause") == Cause.END_OF_PROGRAM
    assert await host.read("trap_pc") == count - 1
    cover.save()
