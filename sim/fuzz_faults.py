"""Plants one fault of a chosen cause into a legal random program.

What can only be said of operands is found by trying: fields of a random item get hostile values
until `isa.legal` names the cause, among them the first value behind the last legal one. Whether the
program reaches the item is for the caller to see.
"""

import random
from collections.abc import Iterator
from dataclasses import replace

from isa.config import ChipConfig
from isa.program import DecodeError, Op, Reg, decode, encode
from isa.table import (
    BY_OPCODE,
    OPCODE_BITS,
    SEMAPHORE_MAX,
    SEMAPHORES,
    SIGNALS,
    WAITS,
    Choice,
    Engine,
    Operand,
)
from isa.traps import IMPRECISE, Cause
from sim.fuzz_items import cause_of
from sim.fuzz_program import Item, Phase, Program, guards

CAUSES = tuple(cause for cause in Cause if cause not in (Cause.NONE, *IMPRECISE))
_TRIES = 300
_WORD_BITS = 256


def plant(program: Program, config: ChipConfig, dice: random.Random, cause: Cause) -> Program:
    """The program with a fault of ``cause``; ValueError if no item can have it on this chip."""
    if cause == Cause.END_OF_PROGRAM:
        return _without_halt(program, dice)
    if cause == Cause.SEMAPHORE_OVERFLOW:
        return _overflowing(program, dice)
    items = list(program.items())
    if cause == Cause.NOT_SIGNALLED:
        waits = {number: waits for number, (waits, _) in guards(program).items()}
        items = [item for item in items if len(waits[item.number]) < WAITS]
    for _ in range(_TRIES):
        item = dice.choice(items)
        changed = _changed(item, config, dice, cause)
        if changed:
            return program.replace_items({item.number: changed})
    raise ValueError(f"{config.name}: no instruction of the program can have {cause.name}")


def _changed(item: Item, config: ChipConfig, dice: random.Random, cause: Cause) -> Item | None:
    if cause == Cause.ILLEGAL_OPCODE:
        codes = [code for code in range(1 << OPCODE_BITS) if code not in BY_OPCODE]
        return replace(item, flips=item.op.spec.opcode ^ dice.choice(codes))
    if cause == Cause.RESERVED_BITS:
        return _reserved(item, dice)
    if cause == Cause.REGISTER_OVERFLOW:
        return _overflowing_register(item, dice)
    if cause == Cause.NOT_SIGNALLED:
        return replace(item, waits=((dice.randrange(SEMAPHORES), dice.randint(1, 3)),))
    hostile = _boundary if cause == Cause.OUT_OF_RANGE and dice.random() < 0.5 else _hostile
    return hostile(item, config, dice, cause)


def _without_halt(program: Program, dice: random.Random) -> Program:
    """The end is missing, or a branch goes behind it."""
    (halt,) = [item for item in program.items() if item.op.mnemonic == "halt"]
    if dice.random() < 0.5:
        return program.replace_items({halt.number: None})
    far = dice.choice([1 << 12, (1 << 32) - 1, dice.randrange(1 << 12, 1 << 32)])
    branch = Op("beq", {"rs": Reg(0), "x": 0, "y": far})
    return program.replace_items({halt.number: replace(halt, op=branch)})


def _overflowing(program: Program, dice: random.Random) -> Program:
    """A loop that signals what nobody waits for; the first turns are as good as any program."""
    highest = max(item.number for item in program.items())
    semaphore = program.semaphore(Engine.SEQUENCER, Engine.SEQUENCER)
    op = Op(dice.choice(["lnop", "snop", "mnop", "vnop"]))
    item = Item(highest + 1, op, signals=(semaphore,) * SIGNALS)
    phase = Phase(body=(item,), turns=SEMAPHORE_MAX // SIGNALS + 1)
    return replace(program, phases=(phase, *program.phases))


def _reserved(item: Item, dice: random.Random) -> Item | None:
    """One bit of the word makes it none, or makes an encoding without meaning."""
    bit = dice.randrange(OPCODE_BITS, _WORD_BITS)
    word = int.from_bytes(encode(item.op), "little") ^ 1 << bit
    try:
        decode(word.to_bytes(_WORD_BITS // 8, "little"))
    except DecodeError:
        return replace(item, flips=1 << bit)
    return None


def _overflowing_register(item: Item, dice: random.Random) -> Item | None:
    described = {name: item.op.spec.format.slots[name].field for name in item.op.spec.uses}
    narrow = {
        name: entry.bits
        for name, entry in described.items()
        if isinstance(entry, Operand) and entry.bits < 32
    }
    if not narrow:
        return None
    name = dice.choice(list(narrow))
    above = 1 << narrow[name]
    value = dice.choice([above, above | item.number_of(name), dice.randrange(above, 1 << 32)])
    return replace(item, via={**item.via, name: value}, moving=None)


def _with(item: Item, name: str, value: int | str) -> Item:
    """With another value of a field, wherever that comes from."""
    op = replace(item.op, fields={**item.op.fields, name: value})
    via = {**item.via, name: value} if name in item.via and isinstance(value, int) else item.via
    moving = None if item.moving and item.moving[0] == name else item.moving
    return replace(item, op=op, via=via, moving=moving)


def _fields(item: Item) -> list[str]:
    """Fields that hold a number or a choice."""
    return [name for name in item.op.spec.uses if not isinstance(item.op.get(name), Reg)]


def _hostile(item: Item, config: ChipConfig, dice: random.Random, cause: Cause) -> Item | None:
    """One field or two with values that programs do not have."""
    names = _fields(item)
    for _ in range(20 if names else 0):
        changed = item
        for name in dice.sample(names, min(len(names), dice.randint(1, 2))):
            changed = _with(changed, name, dice.choice(list(_candidates(item, name, dice))))
        if cause_of(changed, config) == cause:
            return changed
    return None


def _candidates(item: Item, name: str, dice: random.Random) -> Iterator[int | str]:
    described = item.op.spec.format.slots[name].field
    if isinstance(described, Choice):
        yield from described.values
        return
    assert isinstance(described, Operand)
    top, value = (1 << described.bits) - 1, item.number_of(name)
    power = 1 << dice.randrange(described.bits)
    for other in (0, 1, value - 1, value + 1, value // 2, value ^ power, value + power, top, power):
        if 0 <= other <= top:
            yield other


def _boundary(item: Item, config: ChipConfig, dice: random.Random, cause: Cause) -> Item | None:
    """One operand at the first value that is out of range, in steps that keep it aligned."""
    names = [name for name in _fields(item) if isinstance(item.op.get(name), int)]
    if not names:
        return None
    name = dice.choice(names)
    step = item.places[name].step if name in item.places else 1
    described = item.op.spec.format.slots[name].field
    assert isinstance(described, Operand)
    low, high = item.number_of(name) // step, ((1 << described.bits) - 1) // step
    if low >= high or cause_of(_with(item, name, high * step), config) != cause:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if cause_of(_with(item, name, middle * step), config) == cause:
            high = middle
        else:
            low = middle
    return _with(item, name, high * step)
