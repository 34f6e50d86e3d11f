"""Vocabulary of the tests of combinational arithmetic: many cases on Amaranth's simulator."""

from collections.abc import Callable

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

UNITS = 25  # instances that work side by side: fewer, bigger steps of the simulator
SPECIAL = np.array(
    [0, 1, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x1000000, 0x3F800000, 0x3F800001, 0x3F7FFFFF]
    + [0x33800000, 0x34000000, 0x33800001, 0x337FFFFF, 0x32800000, 0x4B800000, 0x4B7FFFFF]
    + [0x20000000, 0x1FFFFFFF, 0x5F800000, 0x7F7FFFFF, 0x7F7F0000, 0x7F7F8000, 0x7F7F7FFF]
    + [0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x3F808000, 0x3F818000, 0x3F807FFF],
    np.uint32,
)
SPECIAL = np.concatenate([SPECIAL, SPECIAL | np.uint32(1 << 31)])


def run(function: Callable, out_bits: int, *operands: np.ndarray) -> np.ndarray:
    """Results of `function(m, *operands)`, UNITS cases a step of Amaranth's simulator.

    All units share one wide input and output: the simulator settles once per `ctx.set`.
    """
    bits = 8 * operands[0].dtype.itemsize
    m = Module()
    pins = Signal(UNITS * len(operands) * bits)
    outs = Signal(UNITS * out_bits)
    for unit in range(UNITS):
        m.submodules[f"unit{unit}"] = sub = Module()
        first = unit * len(operands)
        inputs = [pins.word_select(first + i, bits) for i in range(len(operands))]
        sub.d.comb += outs.word_select(unit, out_bits).eq(function(sub, *inputs, name=f"f{unit}"))
    padding = -len(operands[0]) % UNITS
    cases = np.pad(np.stack(operands, axis=1), ((0, padding), (0, 0))).reshape(
        -1, len(pins) // bits
    )
    words: list[bytes] = []

    async def bench(ctx) -> None:
        for batch in cases:
            ctx.set(pins, int.from_bytes(batch.tobytes(), "little"))
            words.append(ctx.get(outs).to_bytes(len(outs) // 8, "little"))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    results = np.frombuffer(b"".join(words), f"u{out_bits // 8}")
    return results[: len(operands[0])].astype(np.uint32)


def same(got: np.ndarray, want: np.ndarray, *operands: np.ndarray) -> None:
    """Compare bits; name the first case that differs."""
    want = np.ascontiguousarray(want)
    want = want.view(np.uint32) if want.dtype == np.float32 else want.astype(np.uint32)
    wrong = np.flatnonzero(got != want)
    if wrong.size:
        i = wrong[0]
        inputs = ", ".join(f"{int(x[i]):#x}" for x in operands)
        raise AssertionError(
            f"{wrong.size} wrong; f({inputs}) = {int(got[i]):#x}, want {int(want[i]):#x}"
        )
