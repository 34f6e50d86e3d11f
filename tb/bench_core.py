"""Bench of the whole core: programs for all engines against the functional simulator.

Parameters: `image` (a file), `stall`, `latency`.
"""

import random

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from isa.config import HBM_ATOM_BYTES
from isa.counters import COUNTER_BITS, COUNTERS, CYCLE_CLASSES
from isa.image import load_image
from isa.program import Op, Reg, encode_program
from isa.table import INSTRUCTION_BYTES, Engine
from isa.traps import Cause
from sim.functional import FunctionalCore
from tb.agents import shake
from tb.axi_memory import AxiMemory
from tb.runner import bench_parameters

_LIMIT = 100_000  # cycles
SOURCE_ATOM = 2048  # of data, behind every program


async def _start(dut, image) -> AxiMemory:
    """Clock, memory and reset; returns the memory."""
    sizes, content = bench_parameters(), bytearray(image.memory().tobytes())
    await shake(dut)
    beat = image.config.axi_bytes
    memory = AxiMemory(dut, content, beat, sizes["stall"], sizes["latency"])
    memory.prepare()
    dut.start.value = 0
    dut.code_base.value = image.code_base
    dut.code_count.value = len(image.code) // INSTRUCTION_BYTES
    dut.memory_atoms.value = len(content) // HBM_ATOM_BYTES
    dut.rst.value = 1
    cocotb.start_soon(memory.run())
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    return memory


async def _run(dut) -> None:
    """One program, from `start` to `halted` or `trapped`."""
    dut.start.value = 1
    await FallingEdge(dut.clk)
    dut.start.value = 0
    for _ in range(_LIMIT):
        await FallingEdge(dut.clk)
        if int(dut.halted.value) or int(dut.trapped.value):
            _check_classes(dut)
            _check_work(dut)
            return
    raise AssertionError(f"neither halted nor trapped after {_LIMIT} cycles")


def _words(port, count: int) -> list[int]:
    packed, mask = int(port.value), (1 << COUNTER_BITS) - 1
    return [packed >> COUNTER_BITS * index & mask for index in range(count)]


def _check_classes(dut) -> None:
    """Each engine is in exactly one class in each cycle."""
    of_engine = len(CYCLE_CLASSES)
    words = _words(dut.classes, len(Engine) * of_engine)
    for engine in Engine:
        classes = words[of_engine * engine :][:of_engine]
        assert sum(classes) == int(dut.cycles.value), f"{engine.name}: {classes}"


def _classes(dut, engine: Engine) -> dict[str, int]:
    """Cycles of an engine in each class."""
    words = _words(dut.classes, len(Engine) * len(CYCLE_CLASSES))
    return dict(zip(CYCLE_CLASSES, words[len(CYCLE_CLASSES) * engine :], strict=False))


def _check_work(dut) -> None:
    """An engine works in each cycle in which it moves or computes something."""
    counted = dict(zip(COUNTERS, _words(dut.counters, len(COUNTERS)), strict=True))
    work = {"load": "lines", "store": "lines", "matrix": "rows", "vector": "vectors"}
    for engine in Engine:
        name = engine.name.lower()
        least = counted[f"{name}_{work.get(name, 'instructions')}"]
        assert _classes(dut, engine)["busy"] >= least, f"{name}: {least} cycles of work"


def _fault(dut) -> tuple[Cause, int, int]:
    """Cause, instruction and place of a trap."""
    assert int(dut.trapped.value)
    assert not int(dut.halted.value) | int(dut.running.value)
    places = int(dut.trap_pc.value), int(dut.trap_where.value)
    return Cause(int(dut.trap_cause.value)), *places


def _put(memory: AxiMemory, dut, *ops: Op) -> None:
    """Replace the program."""
    code = encode_program(list(ops))
    memory.memory[: len(code)] = code
    dut.code_base.value = 0
    dut.code_count.value = len(ops)


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
        assert dict(zip(COUNTERS, _words(dut.counters, len(COUNTERS)), strict=True)) == counters
        assert int(dut.cycles.value) > 100


@cocotb.test()
async def illegal_opcode_traps_for_good(dut) -> None:
    """The trap names the instruction; only a reset lets the core start again."""
    memory = await _start(dut, load_image(bench_parameters()["image"]))
    _put(memory, dut, Op("lnop"), Op("snop"), Op("halt"))
    memory.memory[32] = 0  # opcode 0 is no instruction
    await _run(dut)
    assert _fault(dut) == (Cause.ILLEGAL_OPCODE, 1, 0)
    dut.start.value = 1
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    assert _fault(dut) == (Cause.ILLEGAL_OPCODE, 1, 0)


@cocotb.test()
async def trap_comes_behind_all_that_is_ahead(dut) -> None:
    """A store that takes long is completed, what follows the fault is not begun."""
    image = load_image(bench_parameters()["image"])
    memory = await _start(dut, image)
    line, target = image.config.line_bytes, SOURCE_ATOM
    lines = 8 * max(1, HBM_ATOM_BYTES // line)
    fill = {"rows": 1, "bytes": lines * line}
    place = HBM_ATOM_BYTES * target
    content = bytes(random.randrange(1, 256) for _ in range(lines * line))
    memory.memory[place : place + len(content)] = content
    behind = place + len(content)
    _put(
        memory,
        dut,
        Op("load", {"hbm": target} | fill, signals=(1,)),
        Op("store", {"hbm": behind // HBM_ATOM_BYTES} | fill, waits=((1, 1),)),
        Op("st", {"rs": Reg(0), "x": target, "y": 2}),
        Op("store", {"hbm": 2 * behind // HBM_ATOM_BYTES} | fill),
        Op("halt"),
    )
    untouched = bytes(memory.memory[2 * behind :][: len(content)])
    await _run(dut)
    assert _fault(dut) == (Cause.MISALIGNED, 2, 3)
    assert memory.memory[behind : behind + len(content)] == content
    assert memory.memory[2 * behind :][: len(content)] == untouched


@cocotb.test()
async def memory_errors_stop_the_core(dut) -> None:
    """A read and a write that memory refuses, both by a scalar access and by a DMA."""
    image = load_image(bench_parameters()["image"])
    memory = await _start(dut, image)
    memory.limit //= 2
    atom, line = memory.limit // HBM_ATOM_BYTES, image.config.line_bytes
    row = {"hbm": atom, "rows": 1, "bytes": line}
    reaches = {"hbm": atom - 5, "rows": 1, "bytes": 8 * max(line, HBM_ATOM_BYTES)}
    before = bytes(memory.memory[memory.limit :])
    beats = line // image.config.axi_bytes
    for op, where_to, errors in (
        (Op("ld", {"rd": Reg(1), "x": atom + 3, "y": 4}), atom + 3, 1),
        (Op("st", {"rs": Reg(0), "x": atom + 2}), atom + 2, 1),
        (Op("load", row), atom, beats),
        (Op("load", reaches), atom, None),
        (Op("store", row), atom, 1),
    ):
        dut.rst.value = 1
        _put(memory, dut, op, Op("sync"), Op("halt"))
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        await _run(dut)
        cause, pc, where = _fault(dut)
        assert (cause, where) == (Cause.BUS_ERROR, 0)
        assert pc <= 1, "the first instruction that the sequencer still held"
        assert dut.trap_atom.value == where_to
        assert errors is None or dut.bus_errors.value == errors
    assert memory.memory[memory.limit :] == before


@cocotb.test()
async def watchdog_ends_a_deadlock(dut) -> None:
    """The vector unit takes the token of the older store, which waits for a slow load first."""
    image = load_image(bench_parameters()["image"])
    memory = await _start(dut, image)
    line = image.config.line_bytes
    _put(
        memory,
        dut,
        Op("lnop", signals=(2,)),
        Op("load", {"hbm": SOURCE_ATOM, "rows": 1, "bytes": 8 * line}, signals=(1,)),
        Op("snop", waits=((1, 1), (2, 1)), signals=(3,)),
        Op("mnop", waits=((3, 1),), signals=(2,)),
        Op("vnop", waits=((2, 1),)),
        Op("sync"),
        Op("halt"),
    )
    await _run(dut)
    assert _fault(dut) == (Cause.WATCHDOG, 5, 0)
    for engine in (Engine.STORE, Engine.MATRIX):
        cycles = _classes(dut, engine)["semaphore"]
        assert cycles > image.config.watchdog_cycles, f"{engine.name}: {cycles}"


@cocotb.test()
async def classes_name_what_is_waited_for(dut) -> None:
    """Memory, by the load engine; its token, by the vector unit; a queue, by the sequencer, later
    the engines; the accumulators, by the vector unit, while the matrix unit adds to them."""
    image = load_image(bench_parameters()["image"])
    memory = await _start(dut, image)
    memory.latency, line, rows = 200, image.config.line_bytes, 60
    row = {"rows": 1, "bytes": line}
    _put(memory, dut, Op("load", {"hbm": SOURCE_ATOM} | row, signals=(1,)),
         Op("vnop", waits=((1, 1),)), Op("halt"))  # fmt: skip
    await _run(dut)
    cycles, long = int(dut.cycles.value), 150
    waits = {Engine.LOAD: "memory", Engine.VECTOR: "semaphore", Engine.SEQUENCER: "operand"}
    for engine, name in waits.items():
        assert _classes(dut, engine)[name] > long, f"{engine.name}: {_classes(dut, engine)}"
    for engine in (Engine.STORE, Engine.MATRIX):
        assert _classes(dut, engine)["idle"] == cycles, f"{engine.name}: {_classes(dut, engine)}"
    config = image.config
    size = {"m": rows, "k": config.rows, "n": config.cols}
    strides = {"astride": config.array_row_bytes, "wstride": 2 * config.cols}
    read = Op("vmov", {"rows": 1, "cols": config.cols, "at": "acc"})  # the first come too early
    product = Op("matmul", size | strides | {"mode": "accumulate"})
    _put(memory, dut, product, *[read] * 6, Op("halt"))
    await _run(dut)
    assert int(dut.halted.value)
    # The vector unit asks for the next row a little after it got the one before.
    for engine, name, least in (
        (Engine.MATRIX, "busy", rows),
        (Engine.VECTOR, "operand", rows - 20),
    ):
        found = _classes(dut, engine)
        assert least <= found[name] <= 2 * rows, f"{engine.name}: {found}"
