"""The semaphore file, an instruction's guard, and the dispatcher that uses both."""

import random

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring

from isa.config import load_config
from isa.table import BY_MNEMONIC, DMA, SEMAPHORES, Engine
from rtl.dispatch import Dispatcher
from rtl.semaphore import ProgramOrder, SemaphoreFile
from tests.support import put, simulate

LOAD, LNOP, STORE, SNOP = (BY_MNEMONIC[name].opcode for name in ("load", "lnop", "store", "snop"))


def test_counts_like_a_model():
    """Random operations of all engines; waits are granted when they are met, one in a cycle."""
    dut = SemaphoreFile()

    async def bench(ctx):
        dice, counters, pending = random.Random(2), [0] * SEMAPHORES, {}
        granted_waits = 0
        for _ in range(3000):
            for engine, port in enumerate(dut.ports):
                if dice.random() < 0.1:
                    pending.pop(engine, None)  # else all would soon wait for empty counters
                if engine not in pending and dice.random() < 0.5:
                    raises = dice.random() < 0.6
                    pending[engine] = raises, dice.randrange(4) * 9, dice.randint(1, 3)
                ctx.set(port.valid, engine in pending)
                if engine in pending:
                    raises, semaphore, count = pending[engine]
                    ctx.set(port.raises, raises)
                    ctx.set(port.semaphore, semaphore)
                    ctx.set(port.count, count)
            met = {e for e, (raises, s, n) in pending.items() if raises or counters[s] >= n}
            granted = {engine for engine in range(len(Engine)) if ctx.get(dut.ports[engine].ready)}
            assert granted <= met
            assert len(granted) == bool(met)
            for engine in granted:
                raises, semaphore, count = pending.pop(engine)
                assert raises or not any(pending[e][0] for e in met - granted), "signals first"
                counters[semaphore] += 1 if raises else -count
                granted_waits += not raises
            await ctx.tick()
        assert granted_waits > 300

    simulate(dut, bench)


def test_clear_forgets():
    dut = SemaphoreFile()

    async def bench(ctx):
        port = dut.ports[0]
        ctx.set(port.valid, 1)
        ctx.set(port.raises, 1)
        ctx.set(port.semaphore, 31)
        await ctx.tick().repeat(3)
        ctx.set(port.valid, 0)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        ctx.set(port.raises, 0)
        ctx.set(port.count, 1)
        ctx.set(port.valid, 1)
        assert not ctx.get(port.ready)
        ctx.set(port.count, 0)
        assert ctx.get(port.ready)

    simulate(dut, bench)


def _two_engines() -> tuple[Module, Dispatcher, Dispatcher]:
    """Two dispatchers and their semaphores."""
    m = Module()
    m.submodules.file = file = SemaphoreFile()
    queues = []
    for engine in (Engine.LOAD, Engine.STORE):
        queue = Dispatcher(load_config("tiny"), DMA)
        m.submodules[engine.name] = queue
        wiring.connect(m, queue.semaphores, file.ports[engine])
        m.d.comb += queue.enable.eq(1)
        queues.append(queue)
    return m, *queues


def _guards(waits=(), signals=()) -> dict:
    return {
        "waits": [{"semaphore": s, "count": n} for s, n in waits],
        "signals": [{"semaphore": s, "valid": 1} for s in signals],
    }


def _item(opcode: int, rows: int, waits=(), signals=()) -> dict:
    return {"guards": _guards(waits, signals), "command": {"opcode": opcode, "rows": rows}}


def test_dispatchers_order_each_other():
    """The second engine's commands start only after all their tokens; nops start nothing."""
    m, first, second = _two_engines()
    log: list[str] = []
    retired = [0, 0]

    async def serve(ctx):
        dice, running = random.Random(6), [0, 0]
        while min(retired) < 3:
            for index, queue in enumerate((first, second)):
                ctx.set(queue.command.ready, not running[index])
                ctx.set(queue.done, running[index] == 1)
                if running[index] == 1:
                    log.append(f"done {'ab'[index]}")
                running[index] = max(0, running[index] - 1)
                if ctx.get(queue.command.valid & queue.command.ready):
                    log.append(f"{'ab'[index]}{ctx.get(queue.command.payload.rows)}")
                    running[index] = dice.randint(1, 9)
                retired[index] += ctx.get(queue.retired)
            await ctx.tick()
        assert ctx.get(first.idle)
        assert ctx.get(second.idle)

    async def feed_first(ctx):
        items = [
            _item(LOAD, 1, signals=(4, 4, 9)),
            _item(LNOP, 2, waits=((7, 1),), signals=(4,)),
            _item(LOAD, 3),
        ]
        await put(ctx, first.i, items)

    async def feed_second(ctx):
        items = [
            _item(STORE, 1, waits=((4, 2), (9, 1)), signals=(7,)),
            _item(STORE, 2, waits=((4, 1),)),
            _item(SNOP, 3),
        ]
        await put(ctx, second.i, items)

    simulate(m, serve, feed_first, feed_second)
    started = [entry for entry in log if not entry.startswith("done")]
    assert sorted(started) == ["a1", "a3", "b1", "b2"]
    assert log.index("a1") < log.index("done a") < log.index("b1")
    assert log.index("b1") < log.index("done b") < log.index("a3")
    assert retired == [3, 3]


def test_the_next_command_begins_while_one_is_at_work():
    """Two are given to an engine that takes them, no third one; each raises its signal when it is
    done, and the one that waits for the first's signal begins behind it."""
    m, first, _ = _two_engines()

    async def bench(ctx):
        items = [
            _item(LOAD, 1, signals=(3,)),
            _item(LOAD, 2, signals=(3,)),
            _item(LOAD, 3, waits=((3, 2),)),
        ]
        started, retired = [], 0
        ctx.set(first.command.ready, 1)
        for cycle in range(20):
            ctx.set(first.i.valid, cycle < len(items))
            ctx.set(first.i.payload, items[min(cycle, len(items) - 1)])
            ctx.set(first.done, cycle in (8, 12, 18))
            if ctx.get(first.command.valid):
                started.append((cycle, ctx.get(first.command.payload.rows)))
            retired += ctx.get(first.retired)
            assert ctx.get(first.working) == (2 <= cycle <= 12 or 15 <= cycle <= 18), cycle
            await ctx.tick()
        assert started == [(1, 1), (2, 2), (14, 3)]
        assert retired == 3
        assert ctx.get(first.idle)

    simulate(m, bench)


def test_dispatcher_says_what_it_is_at():
    """Idle, then waiting for the semaphore, then working, then idle again; stopped, it does
    nothing."""
    m, first, second = _two_engines()

    async def bench(ctx):
        assert ctx.get(second.idle)
        ctx.set(second.i.payload, _item(STORE, 1, waits=((3, 1),)))
        ctx.set(second.i.valid, 1)
        await ctx.tick()
        ctx.set(second.i.valid, 0)
        for _ in range(3):
            assert ctx.get(second.waiting & ~second.idle & ~second.working)
            await ctx.tick()
        ctx.set(first.i.payload, _item(LNOP, 1, signals=(3,)))
        ctx.set(first.i.valid, 1)
        ctx.set(second.command.ready, 1)
        await ctx.tick()
        ctx.set(first.i.valid, 0)
        await ctx.tick().repeat(4)
        assert ctx.get(second.working & ~second.waiting & ~second.idle)
        ctx.set(second.done, 1)
        await ctx.tick()
        assert ctx.get(second.idle)

    simulate(m, bench)


async def _pass(ctx, dut, waits, signals) -> tuple[str, int, int]:
    """Give an instruction to `ProgramOrder`: verdict, semaphore, cycles until it came."""
    ctx.set(dut.fields, _guards([*waits, *[(0, 0)] * 3][:3], ()))
    for index, semaphore in enumerate(signals):
        ctx.set(dut.fields.signals[index].semaphore, semaphore)
        ctx.set(dut.fields.signals[index].valid, 1)
    ctx.set(dut.valid, 1)
    for cycle in range(8):
        for verdict in ("passed", "starved", "overflow"):
            if ctx.get(getattr(dut, verdict)):
                semaphore = ctx.get(dut.semaphore)
                await ctx.tick()
                ctx.set(dut.valid, 0)
                return verdict, semaphore, cycle + 1
        await ctx.tick()
    raise AssertionError("no verdict")


def test_program_order_counts_like_a_model():
    dut, seen, reset = ProgramOrder(), set(), Signal()

    async def bench(ctx):
        dice, counters = random.Random(4), [0] * SEMAPHORES
        for _ in range(1500):
            length = dice.choice([0, 0, 0, 1, 2, 3])
            waits = [(dice.randrange(30, 32), dice.choice([1, 1, 1, 3])) for _ in range(length)]
            signals = [dice.randrange(30, 32) for _ in range(dice.randrange(4))]
            expected, at = "passed", 0
            trial = list(counters)
            for semaphore, count in waits:
                trial[semaphore] -= count
                if trial[semaphore] < 0 and expected == "passed":
                    expected, at = "starved", semaphore
            for semaphore in signals:
                trial[semaphore] += 1
            verdict, semaphore, cycles = await _pass(ctx, dut, waits, signals)
            assert verdict == expected
            seen.add((verdict, len(waits), len(signals)))
            if verdict == "starved":
                assert semaphore == at
                ctx.set(reset, 1)  # only that revives a core that trapped
                await ctx.tick()
                ctx.set(reset, 0)
                counters = [0] * SEMAPHORES
                continue
            assert cycles == len(waits) + max(1, len(signals))
            counters = trial

    simulate(ResetInserter(reset)(dut), bench)
    assert len(seen) == 16 + 12  # every pattern passes; every one with waits is refused
