"""Sequencer: random programs against the functional simulator's scalar machine."""

import numpy as np
import pytest

from isa.config import HBM_ATOM_BYTES, load_config
from isa.program import Op, Reg, encode_program
from isa.table import INSTRUCTION_BYTES, Engine
from isa.traps import Cause, Fault
from rtl.timing import FETCH_BURST as BURST
from sim.scalar import ScalarMachine
from tests.rtl.sequencer_bench import (
    DATA_ATOM,
    MEMORY_BYTES,
    SequencerBench,
    compare_commands,
    random_program,
)
from tests.support import simulate


@pytest.mark.parametrize("axi_bytes", [4, 32, 128])
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_random_programs(axi_bytes, stall):
    sizes = {"axi_bytes": axi_bytes, "line_bytes": 128, "burst_beats": 32}
    config = load_config("tiny").replace(hbm="", **sizes)
    for seed in range(2):
        ops = random_program(config, seed)
        bench = SequencerBench(config, ops, base_atom=2 * seed + 1, stall=stall)
        memory = np.frombuffer(bytearray(bench.memory), np.uint8).copy()
        machine = ScalarMachine(config, encode_program(ops))
        reference = list(machine.run(memory))
        simulate(bench.dut, bench.run)
        assert bench.fault is None
        compare_commands(bench.commands, reference)
        assert bytes(bench.memory) == memory.tobytes()
        assert bench.retired == machine.executed
        assert bench.operations == 6  # of the last ones: those of engines are not the sequencer's
        end = 64 * bench.base + 32 * len(ops)
        assert bench.fetched_to == -(-end // axi_bytes) * axi_bytes, "reads all, and nothing behind"
        assert bench.classes.total() == bench.cycles - 1  # of `start` is not of the run
        assert min(bench.classes[name] for name in ("busy", "memory")) > 0


def test_one_instruction_per_cycle():
    """Straight code and a loop that fits the buffer, once the memory's latency has passed."""
    ops = [Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 1}) for _ in range(400)]
    ops += [Op("add", {"rd": Reg(2), "rs": Reg(2), "x": 1}) for _ in range(20)]
    ops += [Op("vnop"), Op("blt", {"rs": Reg(2), "x": 400, "y": 400}), Op("halt")]
    bench = SequencerBench(load_config("tiny"), ops, base_atom=5, stall=0.0, latency=40)
    simulate(bench.dut, bench.run)
    instructions = 400 + 20 * 22 + 1
    assert bench.retired + len(bench.commands) == instructions
    behind = 5 * HBM_ATOM_BYTES // INSTRUCTION_BYTES % BURST  # beats of the burst it begins in
    assert bench.cycles <= instructions + 40 + behind + 11
    assert bench.fetch.bursts <= len(ops) // BURST + 10  # the loop was not read again


@pytest.mark.parametrize("top", [96, 101])
def test_loops_of_any_length(top):
    """Also those as long as what the buffer keeps, while the fetch still runs ahead."""
    for length in range(30, 68):
        ops = [Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 1})] * (top + length - 1)
        ops.append(Op("blt", {"rs": Reg(1), "x": top + 3 * (length - 1), "y": top}))
        ops += [Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 1})] * 80 + [Op("halt")]
        bench = SequencerBench(load_config("tiny"), ops, base_atom=0, stall=0.0)
        simulate(bench.dut, bench.run, limit=2000)
        assert bench.retired == top + 3 * length + 81


def _run(ops: list[Op], change=None) -> SequencerBench:
    """Run a program that traps; ``change`` may alter the code in memory before."""
    bench = SequencerBench(load_config("tiny"), ops, base_atom=3, stall=0.0)
    if change:
        change(bench)
    simulate(bench.dut, bench.run)
    return bench


_COUNT = [Op("add", {"rd": Reg(1), "rs": Reg(0), "x": 3})] * 5
_STORE = Op("st", {"rs": Reg(1), "x": DATA_ATOM})


@pytest.mark.parametrize(
    ("byte", "cause"), [(0x7F, Cause.ILLEGAL_OPCODE), (0xE1, Cause.ILLEGAL_OPCODE)]
)
def test_illegal_opcode_traps(byte, cause):
    def change(bench):
        bench.memory[3 * 64 + 5 * 32] = byte

    bench = _run([*_COUNT, Op("vnop"), Op("lnop"), _STORE, Op("halt")], change)
    assert bench.fault == (Fault(cause), 5)
    assert bench.retired == 5
    assert not bench.commands


def _trapped(*ops: Op) -> tuple[SequencerBench, Fault]:
    """Run instructions between a nop and a store and further nops; the second one must trap."""
    bench = _run([Op("snop"), *ops, Op("mnop"), _STORE, Op("halt")])
    before = bytes(SequencerBench(load_config("tiny"), [], 3, 0.0).memory)[64 * DATA_ATOM :]
    assert bytes(bench.memory[64 * DATA_ATOM :]) == before, "nothing behind the trap is done"
    fault, pc = bench.fault
    assert pc == len(ops)
    assert next(engine for engine, _ in bench.commands) == Engine.STORE
    assert Engine.MATRIX not in [engine for engine, _ in bench.commands]
    return bench, fault


def test_reserved_bits_trap():
    def change(bench):
        bench.memory[3 * 64 + 6 * 32 + 31] |= 0x80

    bench = _run([*_COUNT, Op("vnop"), Op("lnop"), Op("mnop"), Op("halt")], change)
    assert bench.fault == (Fault(Cause.RESERVED_BITS), 6)
    assert [engine for engine, _ in bench.commands] == [Engine.VECTOR]


def test_illegal_operands_trap():
    _, fault = _trapped(Op("load", {"hbm": 1024, "rows": 1, "bytes": 32}))
    assert fault == Fault(Cause.OUT_OF_RANGE, 0)
    overflow = [
        Op("add", {"rd": Reg(3), "rs": Reg(0), "x": 1 << 16}),
        Op("store", {"rows": Reg(3), "bytes": 32}),
    ]
    _, fault = _trapped(*overflow)
    assert fault == Fault(Cause.REGISTER_OVERFLOW, 4)


def test_scalar_accesses_trap_before_they_are_made():
    _, fault = _trapped(Op("st", {"rs": Reg(1), "x": MEMORY_BYTES // 64}))
    assert fault == Fault(Cause.OUT_OF_RANGE, 2)
    _, fault = _trapped(Op("ld", {"rd": Reg(1), "x": DATA_ATOM, "y": 2}))
    assert fault == Fault(Cause.MISALIGNED, 3)


def test_waits_need_signals_ahead_of_them():
    _, fault = _trapped(Op("vnop", waits=((9, 1),), signals=(9,)))
    assert fault == Fault(Cause.NOT_SIGNALLED, 9)
    signal = Op("snop", signals=(9, 8, 9))
    _, fault = _trapped(signal, Op("sync", waits=((8, 1), (9, 3))))
    assert fault == Fault(Cause.NOT_SIGNALLED, 9)
    bench, fault = _trapped(signal, Op("vnop", waits=((9, 1), (8, 1), (9, 2))))
    assert fault == Fault(Cause.NOT_SIGNALLED, 9)
    assert bench.operations == 0
    _, fault = _trapped(signal, Op("snop", waits=((9, 2),)), Op("vnop", waits=((9, 1),)))
    assert fault == Fault(Cause.NOT_SIGNALLED, 9)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9])
def test_end_of_program(count):
    bench = _run([*_COUNT, *_COUNT][:count])
    assert bench.fault == (Fault(Cause.END_OF_PROGRAM), count)
    assert bench.retired == count


def test_branch_behind_the_program():
    bench = _run([Op("beq", {"rs": Reg(0), "x": 0, "y": (1 << 32) - 1}), Op("halt")])
    assert bench.fault == (Fault(Cause.END_OF_PROGRAM), (1 << 32) - 1)


def test_traps_wait_for_the_engines_and_watchdogs_do_not():
    """What is ahead of the fault goes on until all is idle; a bus error stops what is queued."""
    config = load_config("tiny")

    async def until_stuck(ctx, bench, cycles: int):
        ctx.set(bench.dut.engines_idle, 0)
        for _ in range(cycles):
            for model in bench.models:
                model.drive(ctx)
            for model in bench.models:
                model.sample(ctx)
            await ctx.tick()

    def make(*ops: Op):
        bench = SequencerBench(config, [*ops, Op("halt")], base_atom=3, stall=0.0)

        async def begin(ctx):
            dut = bench.dut
            for name, value in (("code_base", 3), ("code_count", bench.count), ("start", 1)):
                ctx.set(getattr(dut, name), value)
            await until_stuck(ctx, bench, 1)
            ctx.set(dut.start, 0)
            await until_stuck(ctx, bench, 60)
            assert ctx.get(dut.running)
            assert not ctx.get(dut.trapped)

        return bench, begin

    bench, begin = make(Op("vnop", waits=((1, 1),)))

    async def precise(ctx):
        await begin(ctx)
        assert not ctx.get(bench.dut.stop)
        assert ctx.get(bench.dut.waiting_operand)
        ctx.set(bench.dut.engines_idle, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(bench.dut.trapped & bench.dut.stop & ~bench.dut.running)
        assert ctx.get(bench.dut.trap_cause) == Cause.NOT_SIGNALLED

    simulate(bench.dut, precise)
    bench, begin = make(Op("sync"))

    async def watchdog(ctx):
        await begin(ctx)
        ctx.set(bench.dut.watchdog, 1)
        await ctx.tick()
        assert ctx.get(bench.dut.trapped & bench.dut.stop & ~bench.dut.running)
        assert ctx.get(bench.dut.trap_cause) == Cause.WATCHDOG
        assert ctx.get(bench.dut.trap_pc) == 0

    simulate(bench.dut, watchdog)
    second, begin_second = make(Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 1}), Op("sync"))

    async def bus_error(ctx):
        await begin_second(ctx)
        ctx.set(second.dut.bus_error, 1)
        await ctx.tick()
        ctx.set(second.dut.bus_error, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(second.dut.stop & ~second.dut.trapped), "an engine is at work"
        ctx.set(second.dut.engines_idle, 1)
        ctx.set(second.dut.engines_quiet, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(second.dut.trapped & ~second.dut.halted)
        assert ctx.get(second.dut.trap_cause) == Cause.BUS_ERROR
        assert ctx.get(second.dut.trap_pc) == 1

    simulate(second.dut, bus_error)
