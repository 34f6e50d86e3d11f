"""Random vector instructions and the values that they meet."""

import itertools

import numpy as np

from isa.config import ChipConfig
from tb.vector_reference import BINARY, MASKS, MNEMONICS, SIZES, Command, State

_OUTLIERS = np.array(
    [0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00001, 0x00000007, 0x00070000, 0x80700000,
     0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x80800001, 0x3F800000], np.uint32,
)  # fmt: skip


def random_values(dice: np.random.Generator, count: int, outliers: float) -> np.ndarray:
    """fp32 of many magnitudes, a third with few bits so that rounding meets ties; a share
    `outliers` are zeros, infinities, NaNs, tiny or huge."""
    values = (dice.normal(0, 3, count) * np.exp2(dice.integers(-9, 9, count))).astype(np.float32)
    short = (values.view(np.uint32) & np.uint32(0xFFF80000)).view(np.float32)
    values = np.where(dice.random(count) < 1 / 3, short, values)
    special = dice.choice(_OUTLIERS, count).view(np.float32)
    return np.where(dice.random(count) < outliers, special, values)


def all_types() -> list[tuple[str, str, str, str]]:
    """Mnemonic, dt, at, bt of each legal combination, those of rotations several times: they have
    the most to choose otherwise."""
    ats = [*SIZES, "acc"]
    found = []
    for mnemonic in MNEMONICS:
        dts = ["f32"] if mnemonic == "vargmax" else [*SIZES]
        bts = ["f32", "bf16", "col", "scalar"] if mnemonic in BINARY else ["f32"]
        times = 4 if mnemonic == "vrot" else 1
        found += list(itertools.product([mnemonic], dts, ats, bts)) * times
    return found


def random_command(dice: np.random.Generator, config: ChipConfig, mnemonic: str = "") -> Command:
    """An instruction of random types, see `random_operands`."""
    types = [entry for entry in all_types() if mnemonic in ("", entry[0])]
    return random_operands(dice, config, types[dice.integers(len(types))])


def random_operands(
    dice: np.random.Generator, config: ChipConfig, types: tuple[str, str, str, str]
) -> Command:
    """An instruction whose operands share no bytes, or whose result goes to a source's place."""
    mnemonic, dt, at, bt = types
    c = Command(mnemonic, int(dice.integers(1, 7)), 1, dt=dt, at=at, bt=bt)
    c.cols, c.rep = _columns(dice, c.mnemonic, config.lanes)
    c.dst, c.dstride = _place(dice, config, c.dt, c.cols, 2)
    if c.at == "acc":
        c.astride = int(dice.integers(12))
        used = c.rows + c.astride * ((c.cols - 1) // config.cols)
        c.a = int(dice.integers(config.acc_rows - used + 1))
    else:
        c.a, c.astride = _place(dice, config, c.at, c.cols, 0)
    if c.mnemonic in MASKS:
        c.b = int(random_values(dice, 1, 0.5).view(np.uint32)[0])
    elif c.mnemonic in BINARY:
        _second(dice, config, c)
    moved = c.mnemonic == "vrot" and c.cols > config.lanes
    if c.at == c.dt and not moved and dice.random() < 0.3:
        c.dst, c.dstride = c.a, c.astride
    return c


def long_commands(dice: np.random.Generator, config: ChipConfig, all_: bool) -> list[Command]:
    """Instructions with as many columns and vectors to skip as the SRAM holds, or nearly; if
    ``all_`` also with as many rows and columns as an instruction can say, 200,000 cycles."""
    half, lanes, few = config.sram_bytes // 2, config.lanes, int(dice.integers(1, 50))
    long = half - few * lanes  # elements of a byte
    skip = int(dice.integers(long // lanes // 2, long // lanes)) * lanes
    place = half + 2 * config.f32_vector_bytes
    longest = [
        Command(
            "vsub",
            65536 - few,
            lanes - 1,
            b=half,
            bstride=config.f32_vector_bytes,
            rep=40_000,
            dst=place,
        ),
        Command("vargmax", 1, (1 << 20) - few, at="acc", a=few, dst=half),
    ]
    in_sram = [
        Command("vabs", 1, 2 * half - few, dt="i8", at="i8"),
        Command("vadd", 1, long, dt="i8", at="acc", a=few, bt="col", b=half),
        Command("vrot", 1, long, dt="i8", at="i8", dst=half, rep=skip),
    ]
    return longest + in_sram if all_ else in_sram


def _columns(dice: np.random.Generator, mnemonic: str, lanes: int) -> tuple[int, int]:
    """cols and rep."""
    edges = [1, lanes - 1, lanes, lanes + 1, 3 * lanes]
    cols = int(dice.integers(1, 5 * lanes + 1))
    if dice.random() < 0.4:
        cols = max(1, int(dice.choice(edges)))
    if mnemonic in MASKS:
        least = -8 if mnemonic == "vmaskl" else 0
        limit = 0 if dice.random() < 0.1 else int(dice.integers(least, cols + 3))
        return cols, limit & 0xFFFF
    if mnemonic != "vrot":
        return cols, int(dice.integers(0, 4))
    if dice.random() < 0.5:
        cols = lanes if dice.random() < 0.5 else min(cols, lanes)
        return cols, int(dice.integers(cols))
    vectors = int(dice.integers(1, 6))
    return vectors * lanes, int(dice.integers(vectors)) * lanes


def _second(dice: np.random.Generator, config: ChipConfig, c: Command) -> None:
    if c.bt == "scalar":
        c.b = int(random_values(dice, 1, 0.3).view(np.uint32)[0])
        return
    kind, cols = ("f32", 1) if c.bt == "col" else (c.bt, c.cols)
    c.b, c.bstride = _place(dice, config, kind, cols, 1)
    if dice.random() < 0.25:
        c.bstride = 0
    elif c.bt == c.dt and c.rep <= 1 and dice.random() < 0.3:
        c.dst, c.dstride = c.b, c.bstride


def _place(
    dice: np.random.Generator, config: ChipConfig, kind: str, cols: int, third: int
) -> tuple[int, int]:
    """Address of row 0 and distance of rows: aligned to vectors, in that third of the SRAM."""
    vector = SIZES[kind] * config.lanes
    stride = vector * (-(-cols // config.lanes) + int(dice.integers(0, 3)))
    start = third * config.sram_bytes // 3 + int(dice.integers(0, 64))
    return -(-start // vector) * vector, stride


def _few_values(dice: np.random.Generator, count: int) -> np.ndarray:
    """fp32 among which the greatest comes more than once: zeros of both signs, threes, or NaNs."""
    most = dice.choice([0.0, 3.0, np.nan], p=[0.4, 0.4, 0.2])
    values = dice.integers(-3, 1, count) * np.copysign(1.0, dice.normal(0, 1, count))
    values = np.where(values > 0, -values, values)
    return np.where(dice.random(count) < 0.2, most, values).astype(np.float32)


def fill(dice: np.random.Generator, state: State, command: Command, outliers: float) -> None:
    """New values for the sources of the command, elsewhere the memory keeps what it has."""
    config = state.config
    if command.at == "acc":
        state.acc[:] = _accumulators(dice, config, outliers)
    width = -(-command.cols // config.lanes) * config.lanes
    rows = command.rows
    sources = [(command.a, command.astride, command.at, width, rows)]
    if command.mnemonic in BINARY and command.bt != "scalar":
        kind = "bf16" if command.bt == "bf16" else "f32"
        count, rows = (1 if command.bt == "col" else width), -(-rows // max(1, command.rep))
        sources.append((command.b, command.bstride, kind, count, rows))
    for address, stride, kind, count, rows in sources:
        for row in range(rows if kind != "acc" else 0):
            start = address + row * stride
            values = random_values(dice, count, outliers)
            if command.mnemonic == "vargmax" and dice.random() < 0.7:
                values = _few_values(dice, count)
            raw = _stored(values, dice, kind)
            state.sram[start : start + len(raw)] = raw


def _accumulators(dice: np.random.Generator, config: ChipConfig, outliers: float) -> np.ndarray:
    """(acc_rows, C) fp32, or the bits of int32 of all lengths."""
    shape = (config.acc_rows, config.cols)
    if config.element != "int8":
        return random_values(dice, config.acc_rows * config.cols, outliers).reshape(shape)
    bits = dice.integers(-(1 << 31), 1 << 31, shape, np.int32)
    return (bits >> dice.integers(0, 32, shape, np.int32)).view(np.float32)


def _stored(values: np.ndarray, dice: np.random.Generator, kind: str) -> np.ndarray:
    """Bytes of fp32 values, cut off to bf16; for 8-bit types any."""
    if SIZES[kind] == 1:
        return dice.integers(0, 256, len(values), np.uint8)
    raw = values.view(np.uint16)[1::2] if kind == "bf16" else values
    return np.ascontiguousarray(raw).view(np.uint8)
