"""The semaphore file, an instruction's guard, and the dispatcher that uses both."""

import random

from amaranth.hdl import Module
from amaranth.lib import wiring

from isa.config import load_config
from isa.table import DMA, SEMAPHORES, Engine
from rtl.dispatch import Dispatcher
from rtl.semaphore import SemaphoreFile
from tests.support import put, simulate


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


def _item(opcode: int, rows: int, waits=(), signals=()) -> dict:
    guards = {
        "waits": [{"semaphore": s, "count": n} for s, n in waits],
        "signals": [{"semaphore": s, "valid": 1} for s in signals],
    }
    return {"guards": guards, "command": {"opcode": opcode, "rows": rows}}


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
            _item(0x11, 1, signals=(4, 4, 9)),
            _item(0x10, 2, waits=((7, 1),), signals=(4,)),
            _item(0x11, 3),
        ]
        await put(ctx, first.i, items)

    async def feed_second(ctx):
        items = [
            _item(0x21, 1, waits=((4, 2), (9, 1)), signals=(7,)),
            _item(0x21, 2, waits=((4, 1),)),
            _item(0x20, 3),
        ]
        await put(ctx, second.i, items)

    simulate(m, serve, feed_first, feed_second)
    started = [entry for entry in log if not entry.startswith("done")]
    assert sorted(started) == ["a1", "a3", "b1", "b2"]
    assert log.index("a1") < log.index("done a") < log.index("b1")
    assert log.index("b1") < log.index("done b") < log.index("a3")
    assert retired == [3, 3]
