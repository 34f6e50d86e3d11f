"""Random vector instructions, and the ports' other side: SRAM, accumulators, command queue."""

import random

import numpy as np

from isa.config import ChipConfig
from isa.table import BY_MNEMONIC, VECTOR, Choice
from rtl.ports import command_layout
from tb.vector_reference import BINARY, MNEMONICS, SIZES, Command, State

_OUTLIERS = np.array(
    [0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00001, 0x00000007, 0x80700000, 0x00800000,
     0x7F7FFFFF, 0xFF7FFFFF, 0x80800001, 0x3F800000], np.uint32,
)  # fmt: skip


def random_values(dice: np.random.Generator, count: int, outliers: float) -> np.ndarray:
    """fp32 of many magnitudes; a share `outliers` are zeros, infinities, NaNs, tiny or huge."""
    values = (dice.normal(0, 3, count) * np.exp2(dice.integers(-6, 7, count))).astype(np.float32)
    special = dice.choice(_OUTLIERS, count).view(np.float32)
    return np.where(dice.random(count) < outliers, special, values)


def random_command(dice: np.random.Generator, config: ChipConfig, mnemonic: str = "") -> Command:
    """An instruction whose operands share no bytes, or whose result goes to a source's place."""
    pick = dice.choice
    c = Command(mnemonic or str(pick(MNEMONICS)), int(dice.integers(1, 7)), 1)
    c.dt, c.at = str(pick(["f32", "bf16"])), str(pick(["f32", "bf16", "acc"]))
    c.cols, c.rep = _columns(dice, c.mnemonic, config.lanes)
    c.dst, c.dstride = _place(dice, config, c.dt, c.cols, 2)
    if c.at == "acc":
        c.a, c.astride = int(dice.integers(config.acc_rows)), int(dice.integers(12))
    else:
        c.a, c.astride = _place(dice, config, c.at, c.cols, 0)
    if c.mnemonic == "vmask":
        c.b = int(random_values(dice, 1, 0.5).view(np.uint32)[0])
    elif c.mnemonic in BINARY:
        _second(dice, config, c)
    moved = c.mnemonic == "vrot" and c.cols > config.lanes
    if c.at == c.dt and not moved and dice.random() < 0.3:
        c.dst, c.dstride = c.a, c.astride
    return c


def _columns(dice: np.random.Generator, mnemonic: str, lanes: int) -> tuple[int, int]:
    """cols and rep."""
    cols = int(dice.integers(1, 5 * lanes + 1))
    if mnemonic == "vmask":
        return cols, int(dice.integers(0, cols + 3))
    if mnemonic != "vrot":
        return cols, int(dice.integers(0, 4))
    if dice.random() < 0.5:
        cols = int(dice.integers(1, lanes + 1))
        return cols, int(dice.integers(cols))
    vectors = int(dice.integers(1, 6))
    return vectors * lanes, int(dice.integers(vectors)) * lanes


def _second(dice: np.random.Generator, config: ChipConfig, c: Command) -> None:
    c.bt = str(dice.choice(["f32", "bf16", "col", "scalar"]))
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


def fill(dice: np.random.Generator, state: State, command: Command, outliers: float) -> None:
    """New values for the sources of the command, elsewhere the memory keeps what it has."""
    config = state.config
    if command.at == "acc":
        values = random_values(dice, state.acc.size, outliers)
        state.acc[:] = values.reshape(state.acc.shape)
    sources = [(command.a, command.astride, command.at)]
    if command.mnemonic in BINARY and command.bt != "scalar":
        sources.append((command.b, command.bstride, "bf16" if command.bt == "bf16" else "f32"))
    width = -(-command.cols // config.lanes) * config.lanes
    for address, stride, kind in sources:
        for row in range(command.rows if kind != "acc" else 0):
            values = random_values(dice, width, outliers)
            raw = values.view(np.uint16)[1::2] if kind == "bf16" else values
            places = state._places(address + row * stride, width * SIZES[kind])
            state.sram[places] = np.ascontiguousarray(raw).view(np.uint8)


def payload(command: Command) -> int:
    """The command stream's payload, packed."""
    values = {"opcode": BY_MNEMONIC[command.mnemonic].opcode}
    for described in VECTOR.fields:
        value = getattr(command, described.name)
        if isinstance(described, Choice):
            value = described.values.index(value)
        values[described.name] = value
    return command_layout(VECTOR).const(values).as_value().value


class Surroundings:
    """One cycle at a time: `inputs()` gives what to drive, `outputs(values)` takes what came.

    Requests are refused with probability `refusal`; read data are there in the cycle after
    acceptance only, random otherwise. `state` is read and written like the real memories.
    """

    READS = ("a", "b", "acc_read")
    OUTPUTS = (
        "a_valid", "a_addr", "b_valid", "b_addr", "acc_read_valid", "acc_read_addr",
        "write_valid", "write_addr", "write_data", "write_mask", "command_ready", "done", "vectors",
    )  # fmt: skip

    def __init__(self, state: State, refusal: float, seed: int):
        self.state, self.refusal = state, refusal
        self.dice = random.Random(seed)
        self.data: dict[str, int] = {}
        self.command: int | None = None
        self.cycles = self.vectors = self.reads = 0
        self.done = False

    def issue(self, command: Command) -> None:
        """Offer a command; `done` becomes true when the unit has executed it."""
        self.command, self.done = payload(command), False
        self.cycles = self.vectors = self.reads = 0

    def inputs(self) -> dict[str, int]:
        config = self.state.config
        widths = {"a": config.line_bytes, "b": config.line_bytes, "acc_read": 4 * config.cols}
        ports = {f"{name}_ready": self.dice.random() >= self.refusal for name in (*widths, "write")}
        for name, size in widths.items():
            ports[f"{name}_data"] = self.data.pop(name, self.dice.getrandbits(8 * size))
        ports["command_valid"] = self.command is not None
        ports["command_payload"] = self.command or 0
        self._ready = ports
        return {name: int(value) for name, value in ports.items()}

    def outputs(self, values: dict[str, int]) -> None:
        accepted = {
            name: values[f"{name}_valid"] and self._ready[f"{name}_ready"]
            for name in (*self.READS, "write")
        }
        for name in self.READS:
            if accepted[name]:
                self.data[name] = self._line(name, values[f"{name}_addr"])
                self.reads += 1
        if accepted["write"]:
            self._write(values["write_addr"], values["write_data"], values["write_mask"])
        self.cycles += self.command is None
        self.vectors += values["vectors"]
        if self.command is not None and values["command_ready"]:
            self.command = None
        self.done = bool(values["done"])

    def _line(self, name: str, number: int) -> int:
        if name == "acc_read":
            return int.from_bytes(self.state.acc[number].tobytes(), "little")
        size = self.state.config.line_bytes
        return int.from_bytes(self.state.sram[number * size : (number + 1) * size], "little")

    def _write(self, number: int, line: int, mask: int) -> None:
        config = self.state.config
        raw = np.frombuffer(line.to_bytes(config.line_bytes, "little"), np.uint8)
        size = config.bf16_vector_bytes
        for granule in range(config.line_bytes // size):
            if mask >> granule & 1:
                start = number * config.line_bytes + granule * size
                self.state.sram[start : start + size] = raw[granule * size : (granule + 1) * size]
