"""Random instructions that are legal, or almost, for tests of the checks before the engines."""

import random

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.legal import fault_of
from isa.program import Op
from isa.table import INSTRUCTIONS, Choice, Engine, Operand

ENGINE_MNEMONICS = [i.mnemonic for i in INSTRUCTIONS if i.engine != Engine.SEQUENCER]

_COUNTS = ("rows", "planes", "bytes", "m", "k", "n", "cols")
_ALIGNED = ("sram", "sstride", "splane", "hplane", "a", "astride", "w", "wstride", "wpanel")
_ALIGNED += ("dst", "dstride", "b", "bstride")


class InstructionMaker:
    """Makes instructions whose operands lie around the borders that a chip's rules draw."""

    def __init__(self, config: ChipConfig, memory_atoms: int, seed: int) -> None:
        self.config, self.memory_atoms = config, memory_atoms
        self.dice = random.Random(seed)

    def op(self, mnemonic: str, wildness: float = 0.1) -> Op:
        """An engine's instruction; ``wildness``: how often an operand is anything at all."""
        spec = Op(mnemonic).spec
        fields: dict[str, int | str] = {}
        for name in spec.uses:
            field = spec.format.slots[name].field
            if isinstance(field, Choice):
                fields[name] = self.dice.choice(field.values)
            else:
                fields[name] = self._operand(mnemonic, field, wildness)
        return Op(mnemonic, fields)

    def of_any_size(self, mnemonic: str, bases: list[str]) -> Op:
        """A legal one, or one that nearly is, with these operands 0 and the others of any number of
        bits."""
        for _ in range(100):
            op = self._of_any_size(mnemonic, bases)
            if self.fault(op) is None:
                break
        return op

    def _of_any_size(self, mnemonic: str, bases: list[str]) -> Op:
        dice, spec, line = self.dice, Op(mnemonic).spec, self.config.line_bytes
        fields: dict[str, int | str] = {}
        for name in spec.uses:
            field = spec.format.slots[name].field
            if isinstance(field, Choice):
                fields[name] = dice.choice(field.values)
                continue
            if name in bases and (mnemonic, name) != ("gather", "hplane"):  # else its rows meet it
                fields[name] = 0
                continue
            value = dice.getrandbits(dice.randint(1, field.bits))
            if name in ("bytes", "k", "n", "cols") and dice.random() < 0.4:
                # What ends a power of two behind a line: there each low bit of the end decides.
                value += (1 << dice.randrange(line.bit_length())) - value % line
                value &= (1 << field.bits) - 1
            if name in _ALIGNED and not (name == "hplane" and mnemonic != "gather"):
                value -= value % line
            fields[name] = max(1, value) if name in _COUNTS else value
        if {"offset", "bytes"} <= fields.keys() and dice.random() < 0.4:
            # The same in HBM: a row ends a power of two behind an atom.
            end, bytes_ = int(fields["offset"]) + int(fields["bytes"]), int(fields["bytes"])
            bytes_ += ((1 << dice.randrange(6)) - end) % HBM_ATOM_BYTES
            fields["bytes"] = bytes_ & (1 << spec.format.slots["bytes"].field.bits) - 1 or 1
        return Op(mnemonic, fields)

    def legal(self, mnemonic: str) -> Op:
        """One that passes all checks."""
        for _ in range(100_000):
            op = self.op(mnemonic, wildness=0.0)
            if self.fault(op) is None:
                return op
        raise AssertionError(f"no legal {mnemonic} in 100000 attempts")

    def fault(self, op: Op):
        """`isa.legal`'s verdict on an instruction without registers."""
        found = fault_of(self.config, op.mnemonic, values_of(op), self.memory_atoms)
        return found and found.fault

    def _operand(self, mnemonic: str, field: Operand, wildness: float) -> int:
        dice, top = self.dice, (1 << field.bits) - 1
        if dice.random() < wildness:
            return dice.choice([0, 1, top, dice.getrandbits(field.bits)])
        if field.name == "offset":
            return dice.choice([0, top, dice.randrange(top)])
        if field.name in ("rows", "planes", "m", "k", "n", "cols", "rep"):
            return dice.choice([1, 1, 2, 3, dice.randint(1, 40)])
        if field.name == "bytes":
            return self.config.line_bytes * dice.randint(0, 9) + dice.choice([0, 1, -1]) & top
        if field.name == "hplane" and mnemonic != "gather":
            return dice.choice([0, 1, 2, dice.randint(3, 300)])
        if field.name in ("hstride", "astride", "bstride", "dstride", "sstride", "splane"):
            return min(top, self.config.line_bytes * dice.choice([0, 1, 2, dice.randint(3, 60)]))
        return min(top, self._address(field.name) + dice.choice([0, 0, 0, 0, 1, -1]) & top)

    def _address(self, name: str) -> int:
        """A whole line, often near the end of the memory that the field is an address of."""
        dice, line = self.dice, self.config.line_bytes
        if name == "hbm":
            return dice.choice([0, self.memory_atoms - dice.randint(0, 40), dice.randrange(99)])
        if name == "acc":
            return dice.choice([0, self.config.acc_rows - dice.randint(0, 40), dice.randrange(99)])
        lines = self.config.sram_lines
        return line * dice.choice([0, lines - dice.randint(0, 200), dice.randrange(lines)])


def values_of(op: Op) -> tuple:
    """One value for each field of the format, as `isa.legal.fault_of` takes them."""
    values = []
    for name, slot in op.spec.format.slots.items():
        if name in op.spec.uses:
            values.append(op.get(name))
        else:
            values.append(slot.field.values[0] if isinstance(slot.field, Choice) else 0)
    return tuple(values)
