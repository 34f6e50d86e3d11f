"""Instructions for the legality check: anything, and what is just legal or just not."""

import itertools
import random
from bisect import bisect_left
from collections.abc import Iterator

from isa.config import ChipConfig, load_config
from isa.program import Op
from isa.table import BY_MNEMONIC, Engine
from isa.traps import Cause, Fault
from rtl.decode import CHOICES, OPERANDS, VALUE_BITS
from tb.instructions import ENGINE_MNEMONICS, InstructionMaker, values_of

ATOMS = 1024
TINY = load_config("tiny")
ODD = TINY.replace(
    name="odd", rows=4, cols=16, lanes=8, line_bytes=64, sram_bytes=1 << 16, acc_rows=64,
    axi_bytes=16, element="fp8",
)  # fmt: skip
DISTANCES = ("hstride", "hplane", "sstride", "splane")  # of what a DMA engine writes
BASES = ("hbm", "sram", "hplane", "acc", "a", "w", "dst", "b")  # addresses of operands
Case = tuple[dict, Fault | None]  # what the decoder makes of an instruction, its first fault


def issue_entry(op: Op, overflowing: str = "", bit: int | None = None) -> dict:
    """What the decoder makes of an instruction; ``overflowing``: an operand whose register holds
    that bit as well, by default the first behind the field's."""
    engine, values = op.spec.engine, dict(zip(op.spec.format.slots, values_of(op), strict=True))
    operands = [values[field.name] for field in OPERANDS[engine]]
    for index, field in enumerate(OPERANDS[engine]):
        if field.name == overflowing:
            operands[index] |= 1 << (field.bits if bit is None else bit)
    choices, offset = 0, 0
    for choice in CHOICES[engine]:
        choices |= choice.values.index(values[choice.name]) << offset
        offset += choice.width
    return {"engine": engine, "opcode": op.spec.opcode, "choices": choices, "operands": operands}


def scalar_cases(atoms: int, count: int, seed: int) -> Iterator[Case]:
    """ld and st around the end of the memory, and anywhere, by the words of their definition."""
    dice = random.Random(seed)
    for index in range(count):
        spec = BY_MNEMONIC["ld" if index % 2 else "st"]
        x = dice.choice([0, atoms - 1, atoms, dice.randrange(atoms), dice.getrandbits(32)])
        end = 64 * (atoms - x)  # of the memory, seen from x
        near = end + dice.choice([-8, -5, -4, -3, -2, -1, 0, 4, 64])
        y = dice.choice([near, near ^ 1 << dice.randrange(32), dice.getrandbits(32), 4, 0])
        y &= (1 << 32) - 1
        fault, names = None, list(spec.format.slots)
        if y % 4:
            fault = Fault(Cause.MISALIGNED, names.index("y"))
        elif 64 * x + y + 4 > 64 * atoms:
            fault = Fault(Cause.OUT_OF_RANGE, names.index("x"))
        operands = [{"x": x, "y": y}[field.name] for field in OPERANDS[Engine.SEQUENCER]]
        entry = {"engine": Engine.SEQUENCER, "opcode": spec.opcode, "choices": 0}
        yield entry | {"operands": operands}, fault


def random_cases(config: ChipConfig, atoms: int, count: int, seed: int) -> Iterator[Case]:
    """Instructions of all engines, one of three with wild operands among them."""
    maker = InstructionMaker(config, atoms, seed)
    for index in range(count):
        op = maker.op(maker.dice.choice(ENGINE_MNEMONICS), 0.0 if index % 3 else 0.1)
        yield issue_entry(op), maker.fault(op)


def overflow_cases(config: ChipConfig, atoms: int, seed: int) -> Iterator[Case]:
    """Legal instructions with one bit too many in the register of each operand in turn."""
    maker = InstructionMaker(config, atoms, seed)
    for mnemonic in ENGINE_MNEMONICS:
        op = maker.legal(mnemonic)
        for field in OPERANDS[op.spec.engine]:
            where = list(op.spec.format.slots).index(field.name)
            for bit in range(field.bits, VALUE_BITS) if field.name in op.spec.uses else ():
                yield issue_entry(op, field.name, bit), Fault(Cause.REGISTER_OVERFLOW, where)


def boundary_cases(config: ChipConfig, atoms: int, each: int, seed: int) -> Iterator[Case]:
    """Operands of any magnitude; the last address that is legal with them, and the first that is
    not: there each bit of the sums that lead to an operand's end decides."""
    maker = InstructionMaker(config, atoms, seed)
    for mnemonic in ENGINE_MNEMONICS:
        bases = [name for name in BASES if name in BY_MNEMONIC[mnemonic].uses]
        for _ in range(each * len(bases)):
            op, name = maker.of_any_size(mnemonic, bases), maker.dice.choice(bases)
            unit = 1 if name in ("hbm", "acc") else config.line_bytes
            bits = BY_MNEMONIC[mnemonic].format.slots[name].field.bits
            places = range(0, 1 << bits, unit)

            def moved(place: int, op: Op = op, name: str = name) -> Op:
                return Op(op.mnemonic, op.fields | {name: place})

            at = bisect_left(places, True, key=lambda place: _is_behind(maker, moved(place), name))
            for index in (at - 1, at):
                if 0 <= index < len(places):
                    yield issue_entry(moved(places[index])), maker.fault(moved(places[index]))


def distance_cases(config: ChipConfig, atoms: int, each: int, seed: int) -> Iterator[Case]:
    """The least distance at which rows or planes do not meet, and the last one at which they do."""
    maker = InstructionMaker(config, atoms, seed)
    for mnemonic, name in itertools.product(ENGINE_MNEMONICS, DISTANCES):
        spec = BY_MNEMONIC[mnemonic]
        if name not in spec.uses or (mnemonic, name) == ("gather", "hplane"):
            continue
        bases = [base for base in BASES if base in spec.uses and base != name]
        unit = 1 if name in ("hstride", "hplane") else config.line_bytes
        places = range(0, 1 << spec.format.slots[name].field.bits, unit)
        for _ in range(each):
            op = maker.of_any_size(mnemonic, bases)
            at = bisect_left(places, True, key=lambda p, o=op, n=name: not _meets(maker, o, n, p))
            for index in (at - 1, at):
                if 0 <= index < len(places):
                    moved = Op(mnemonic, op.fields | {name: places[index]})
                    yield issue_entry(moved), maker.fault(moved)


def _meets(maker: InstructionMaker, op: Op, name: str, distance: int) -> bool:
    fault = maker.fault(Op(op.mnemonic, op.fields | {name: distance}))
    return fault is not None and fault.cause == Cause.OVERLAP


def power_cases(config: ChipConfig, atoms: int, each: int, seed: int) -> Iterator[Case]:
    """Distances that are powers of two, and counts of one more: where an operand ends depends on
    one bit of a product, however far behind its memory that is."""
    maker = InstructionMaker(config, atoms, seed)
    for mnemonic in ENGINE_MNEMONICS:
        for _ in range(each):
            op = maker.legal(mnemonic)
            fields = dict(op.fields)
            for name in op.spec.uses:
                field = op.spec.format.slots[name].field
                if name.endswith(("stride", "plane", "panel")):
                    fields[name] = 1 << maker.dice.randrange(field.bits)
                elif name in ("rows", "planes", "m"):
                    fields[name] = (1 << maker.dice.randrange(field.bits)) + 1
            moved = Op(mnemonic, fields)
            yield issue_entry(moved), maker.fault(moved)


def _is_behind(maker: InstructionMaker, op: Op, name: str) -> bool:
    """Whether that operand ends behind its memory."""
    fault = maker.fault(op)
    behind = fault is not None and fault.cause == Cause.OUT_OF_RANGE
    return behind and list(op.spec.format.slots)[fault.where] == name


def moved_cases(
    config: ChipConfig, atoms: int, mnemonics: tuple[str, ...], each: int, seed: int
) -> Iterator[Case]:
    """From legal instructions, each operand in turn is moved up and down by powers of two."""
    maker = InstructionMaker(config, atoms, seed)
    for mnemonic in mnemonics:
        for _ in range(each):
            op = maker.legal(mnemonic)
            for field in OPERANDS[op.spec.engine]:
                if field.name not in op.spec.uses:
                    continue
                for step in (1 << bit for bit in range(field.bits)):
                    for value in (op.get(field.name) + step, op.get(field.name) - step):
                        if 0 <= value < 1 << field.bits:
                            moved = Op(mnemonic, op.fields | {field.name: value})
                            yield issue_entry(moved), maker.fault(moved)
