"""The sequencer: registers, branches, scalar memory accesses, operands of engine instructions.

`ScalarMachine` turns a program into the sequence of commands that the engines receive, for the
functional simulator (which executes them) and for checkers (which look at them). An instruction is
decoded when it is first reached; one without register operands yields the same `Command` each time.
"""

import operator
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES
from isa.program import Op, Reg, decode
from isa.table import INSTRUCTION_BYTES, REGISTERS, Choice, Engine, Operand, Register
from sim.errors import SimulationError, Trap

_MASK = (1 << 32) - 1
ALU: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b & _MASK,
    "sub": lambda a, b: a - b & _MASK,
    "mul": lambda a, b: a * b & _MASK,
    "and": operator.and_,
    "or": operator.or_,
    "shl": lambda a, b: a << (b & 31) & _MASK,
    "shr": lambda a, b: a >> (b & 31),
    "min": min,
    "max": max,
}


class Command(NamedTuple):
    """An instruction with its operands resolved.

    ``fields``: one value for each field of the instruction's format, in its order: integers, and
    the names of choices; 0 for fields that the mnemonic does not use (of the sequencer's
    instructions only `ld` and `st` have any: the byte address in HBM, in ``fields[0]``).
    """

    pc: int  # the instruction's index
    mnemonic: str
    engine: Engine
    fields: tuple
    waits: tuple[tuple[int, int], ...]
    signals: tuple[int, ...]
    op: Op

    def named(self) -> dict[str, int | str]:
        """Fields that the mnemonic uses, by name."""
        names = self.op.spec.format.slots
        return {n: v for n, v in zip(names, self.fields, strict=False) if n in self.op.spec.uses}


class _Engine(NamedTuple):
    """A prepared engine instruction: where registers enter its fields."""

    command: Command
    dynamic: tuple[tuple[int, int, int], ...]  # position in fields, register, mask


class _Scalar(NamedTuple):
    """A prepared instruction of the sequencer; ``command`` where others have to see it."""

    kind: str  # alu, beq, blt, ld, st, sync, halt
    function: Callable[[int, int], int] | None
    rd: int
    rs: int
    x: int
    x_is_register: bool
    y: int
    y_is_register: bool
    command: Command | None


_Prepared = _Engine | _Scalar


def _operand(op: Op, name: str) -> tuple[int, bool]:
    value = op.get(name) if name in op.spec.uses else 0
    return (value.index, True) if isinstance(value, Reg) else (int(value), False)


def _prepare_scalar(op: Op, index: int) -> _Scalar:
    registers = [op.get(name) if name in op.spec.uses else Reg(0) for name in ("rd", "rs")]
    rd, rs = (reg.index for reg in registers if isinstance(reg, Reg))
    function = ALU.get(op.mnemonic)
    kind = "alu" if function else op.mnemonic
    seen = kind in ("ld", "st", "sync", "halt") or op.waits or op.signals
    fields = (0,) if kind in ("ld", "st") else ()
    command = Command(index, op.mnemonic, Engine.SEQUENCER, fields, op.waits, op.signals, op)
    x, y = _operand(op, "x"), _operand(op, "y")
    return _Scalar(kind, function, rd, rs, *x, *y, command if seen else None)


def _prepare_engine(op: Op, index: int) -> _Engine:
    fields: list[int | str] = []
    dynamic = []
    for name, slot in op.spec.format.slots.items():
        described = slot.field
        value = op.get(name) if name in op.spec.uses else 0
        if isinstance(described, Choice) and name not in op.spec.uses:
            value = described.values[0]
        if isinstance(value, Reg):
            assert isinstance(described, Operand)
            dynamic.append((len(fields), value.index, (1 << described.bits) - 1))
            value = 0
        assert not isinstance(described, Register)
        fields.append(value)
    engine = op.spec.engine
    command = Command(index, op.mnemonic, engine, tuple(fields), op.waits, op.signals, op)
    return _Engine(command, tuple(dynamic))


class ScalarMachine:
    """Executes the sequencer's part of one program.

    ``registers``: 16 unsigned 32-bit values, r0 stays 0. ``executed``: the sequencer's own
    instructions so far. Both start from zero in each `run`.
    """

    def __init__(self, code: bytes) -> None:
        self.code = code
        self.registers = [0] * REGISTERS
        self.executed = 0
        self._prepared: list[_Prepared | None] = [None] * (len(code) // INSTRUCTION_BYTES)

    def run(self, memory: NDArray[np.uint8], limit: int = 1 << 40) -> Iterator[Command]:
        """Execute from instruction 0 to `halt`; yields, in program order, every engine's commands
        and those instructions of the sequencer that touch memory, wait, signal, `sync` or `halt`.

        A yielded `ld` or `st` accesses ``memory`` (all of HBM, uint8) when the caller asks for the
        next command: by then the caller has done what came before. Raises Trap for an illegal
        instruction, SimulationError for an access outside memory or after ``limit`` instructions of
        the sequencer.
        """
        registers = self.registers = [0] * REGISTERS
        prepared = self._prepared
        self.executed = 0
        pc = 0
        while True:
            entry = (prepared[pc] if pc < len(prepared) else None) or self._prepare(pc)
            if isinstance(entry, _Engine):
                yield self._resolve(entry) if entry.dynamic else entry.command
                pc += 1
                continue
            self.executed += 1
            if self.executed > limit:
                raise SimulationError(
                    f"instruction {pc}: no halt after {limit} scalar instructions"
                )
            kind, function, rd, rs, x, x_is_register, y, y_is_register, command = entry
            if x_is_register:
                x = registers[x]
            if function is not None:
                if command is not None:
                    yield command
                if rd:
                    registers[rd] = function(registers[rs], x)
                pc += 1
                continue
            if y_is_register:
                y = registers[y]
            if kind in ("beq", "blt"):
                if command is not None:
                    yield command
                left = registers[rs]
                pc = y if (left == x if kind == "beq" else left < x) else pc + 1
                continue
            assert command is not None
            if kind in ("ld", "st"):
                yield from self._access(command, rd, rs, HBM_ATOM_BYTES * x + y, memory)
            else:
                yield command
                if kind == "halt":
                    return
            pc += 1

    def _access(
        self, command: Command, rd: int, rs: int, address: int, memory: NDArray[np.uint8]
    ) -> Iterator[Command]:
        where = f"instruction {command.pc} ({command.mnemonic})"
        if address % 4:
            raise SimulationError(f"{where}: address must be a multiple of 4, not 0x{address:x}")
        if address + 4 > memory.size:
            raise SimulationError(
                f"{where}: address must be below 0x{memory.size:x} (HBM's size), not 0x{address:x}"
            )
        yield command._replace(fields=(address,))
        word = memory[address : address + 4].view(np.uint32)
        if command.mnemonic == "st":
            word[0] = self.registers[rs]
        elif rd:
            self.registers[rd] = int(word[0])

    def _resolve(self, entry: _Engine) -> Command:
        command, dynamic = entry
        fields = list(command.fields)
        for position, register, mask in dynamic:
            fields[position] = self.registers[register] & mask
        index, mnemonic, engine, _, waits, signals, op = command
        return Command(index, mnemonic, engine, tuple(fields), waits, signals, op)

    def _prepare(self, pc: int) -> _Prepared:
        start = pc * INSTRUCTION_BYTES
        word = self.code[start : start + INSTRUCTION_BYTES]
        if not word:
            raise Trap(
                f"instruction {pc}: the program has {len(self._prepared)} instructions, no halt"
            )
        try:
            op = decode(word)
        except ValueError as error:
            raise Trap(f"instruction {pc}: {error}") from None
        scalar = op.spec.engine == Engine.SEQUENCER
        entry = _prepare_scalar(op, pc) if scalar else _prepare_engine(op, pc)
        self._prepared[pc] = entry
        return entry
