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

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.legal import fault_of
from isa.program import DecodeError, Op, Reg, decode
from isa.table import INSTRUCTION_BYTES, REGISTERS, Choice, Engine, Operand, Register
from isa.traps import Cause, Fault
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
        spec = self.op.spec
        pairs = zip(spec.format.slots, self.fields, strict=False)
        return {name: value for name, value in pairs if name in spec.uses}


class _Engine(NamedTuple):
    """A prepared engine instruction: where registers enter its fields."""

    command: Command
    dynamic: tuple[tuple[int, int, int], ...]  # position in fields, register, largest value


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
    dynamic, spec = [], op.spec
    for name, slot in spec.format.slots.items():
        described, used = slot.field, name in spec.uses
        value = op.get(name) if used else 0
        if isinstance(described, Choice) and not used:
            value = described.values[0]
        if isinstance(value, Reg):
            assert isinstance(described, Operand)
            dynamic.append((len(fields), value.index, (1 << described.bits) - 1))
            value = 0
        assert not isinstance(described, Register)
        fields.append(value)
    command = Command(index, op.mnemonic, spec.engine, tuple(fields), op.waits, op.signals, op)
    return _Engine(command, tuple(dynamic))


class ScalarMachine:
    """Executes the sequencer's part of one program.

    ``registers``: 16 unsigned 32-bit values, r0 stays 0. ``executed``: the sequencer's own
    instructions so far. Both start from zero in each `run`. ``path``: if it is a list, the indices
    of all instructions are added to it as they are executed, and to ``jumps`` the places in it of
    branches that are taken.
    """

    def __init__(self, config: ChipConfig, code: bytes) -> None:
        self.config = config
        self.code = code
        self.registers = [0] * REGISTERS
        self.executed = 0
        self.path: list[int] | None = None
        self.jumps: list[int] = []
        count = len(code) // INSTRUCTION_BYTES
        self._ops: list[Op | None] = [None] * count
        self._prepared: list[_Prepared | None] = [None] * count

    def ops(self) -> list[Op]:
        """The whole program, decoded. Raises Trap for what is no instruction."""
        return [self._op(pc) for pc in range(len(self._ops))]

    def run(self, memory: NDArray[np.uint8], limit: int = 1 << 40) -> Iterator[Command]:
        """Execute from instruction 0 to `halt`; yields, in program order, every engine's commands
        and those instructions of the sequencer that touch memory, wait, signal, `sync` or `halt`.

        A yielded `ld` or `st` accesses ``memory`` (all of HBM, uint8) when the caller asks for the
        next command: by then the caller has done what came before. Raises Trap for what is no
        instruction, for registers too large for their field, and for illegal ld and st;
        SimulationError after ``limit`` instructions of the sequencer. Whether the engines' commands
        are legal, and their waits satisfied, is for the caller.
        """
        registers = self.registers = [0] * REGISTERS
        prepared = self._prepared
        self.executed = 0
        pc, path = 0, self.path
        while True:
            if path is not None:
                path.append(pc)
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
                jumps = left == x if kind == "beq" else left < x
                if jumps and path is not None:
                    self.jumps.append(len(path) - 1)
                pc = y if jumps else pc + 1
                continue
            assert command is not None
            if kind in ("ld", "st"):
                self._check_access(command, (x, y), memory.size)
                yield from self._access(command, rd, rs, HBM_ATOM_BYTES * x + y, memory)
            else:
                yield command
                if kind == "halt":
                    return
            pc += 1

    def _check_access(self, command: Command, place: tuple[int, int], size: int) -> None:
        found = fault_of(self.config, command.mnemonic, place, size // HBM_ATOM_BYTES)
        if found:
            raise self.trap(command.pc, *found)

    def _access(
        self, command: Command, rd: int, rs: int, address: int, memory: NDArray[np.uint8]
    ) -> Iterator[Command]:
        yield command._replace(fields=(address,))
        word = memory[address : address + 4].view(np.uint32)
        if command.mnemonic == "st":
            word[0] = self.registers[rs]
        elif rd:
            self.registers[rd] = int(word[0])

    def _resolve(self, entry: _Engine) -> Command:
        command, dynamic = entry
        fields = list(command.fields)
        for position, register, largest in dynamic:
            value = self.registers[register]
            if value > largest:
                fault = Fault(Cause.REGISTER_OVERFLOW, position)
                raise self.trap(command.pc, fault, f", not {value} (r{register})")
            fields[position] = value
        index, mnemonic, engine, _, waits, signals, op = command
        return Command(index, mnemonic, engine, tuple(fields), waits, signals, op)

    def _op(self, pc: int) -> Op:
        if pc >= len(self._ops):
            detail = f" ({len(self._ops)} instructions)"
            raise self.trap(pc, Fault(Cause.END_OF_PROGRAM), detail)
        op = self._ops[pc]
        if op is None:
            start = pc * INSTRUCTION_BYTES
            try:
                op = self._ops[pc] = decode(self.code[start : start + INSTRUCTION_BYTES])
            except DecodeError as error:
                raise self.trap(pc, Fault(error.cause)) from None
        return op

    def _prepare(self, pc: int) -> _Prepared:
        op = self._op(pc)
        scalar = op.spec.engine == Engine.SEQUENCER
        entry = _prepare_scalar(op, pc) if scalar else _prepare_engine(op, pc)
        self._prepared[pc] = entry
        return entry

    def trap(self, pc: int, fault: Fault, detail: str = "") -> Trap:
        """What the chip stops with at instruction ``pc``; ``detail`` is added to the message."""
        start = pc * INSTRUCTION_BYTES
        return Trap(fault, pc, self.code[start : start + INSTRUCTION_BYTES] or None, detail)
