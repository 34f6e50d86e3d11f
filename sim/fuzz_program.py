"""Random programs as a structure that stays legal when parts of it are taken away.

A program is a row of phases. Inside a phase every engine has a place of its own in each memory, so
that engines run together without hazards, in any order and any number of times. Between phases
stands a `sync`, or a token from each engine to each other one. A token is a semaphore's signal by
one item and the wait for it by a later one; each ordered pair of engines has its own semaphore.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from isa.program import Op, Reg, encode
from isa.table import SIGNALS, WAIT_COUNT_BITS, WAITS, Engine

# r1 … r10 are operands, each for the field of its position.
COUNTER, VALUE, TOTAL = Reg(11), Reg(12), Reg(13)  # of loops: turns, a changing operand
DATA = (Reg(14), Reg(15))  # what scalar instructions compute with
BRANCH_TARGET = Reg(9)
MOST_TOKENS = (1 << WAIT_COUNT_BITS) - 1  # that one wait can take


@dataclass(frozen=True)
class Item:
    """One instruction, with what its operands need around it.

    ``via``: operands that come from a register, and what it holds. ``places``: addresses that keep
    the item inside its engine's place. ``moving``: a field and a second value, taken in turns with
    the first by the turns of a loop. ``skips``: numbers of the items that a branch may jump over.
    ``flips``: bits of the encoded word that are inverted. ``waits``, ``signals``: of semaphores
    that belong to no token. ``ahead``: an instruction of the same engine that goes before it.
    """

    number: int
    op: Op
    via: dict[str, int] = field(default_factory=dict)
    places: dict[str, range] = field(default_factory=dict)
    moving: tuple[str, int] | None = None
    skips: tuple[int, ...] = ()
    flips: int = 0
    waits: tuple[tuple[int, int], ...] = ()
    signals: tuple[int, ...] = ()
    ahead: Op | None = None

    @property
    def engine(self) -> Engine:
        return self.op.spec.engine

    def number_of(self, name: str) -> int:
        """An operand, which the item itself always holds as a number."""
        value = self.op.get(name)
        assert isinstance(value, int)
        return value


@dataclass(frozen=True)
class Phase:
    """Items in program order; those of ``body`` are executed ``turns`` times."""

    before: tuple[Item, ...] = ()
    body: tuple[Item, ...] = ()
    after: tuple[Item, ...] = ()
    turns: int = 1

    @property
    def items(self) -> tuple[Item, ...]:
        return self.before + self.body + self.after


Token = tuple[int, int]  # numbers of the signalling and of the waiting item


@dataclass(frozen=True)
class Program:
    """``tokens``, in program order of the signals; ``semaphores``: one for each pair of engines."""

    phases: tuple[Phase, ...]
    tokens: tuple[Token, ...]
    semaphores: tuple[int, ...]

    def items(self) -> Iterator[Item]:
        """All items in program order."""
        for phase in self.phases:
            yield from phase.items

    def semaphore(self, sender: Engine, receiver: Engine) -> int:
        """The semaphore that one engine raises for another, or for itself."""
        return self.semaphores[len(Engine) * sender + receiver]

    def replace_items(self, changed: dict[int, Item | None]) -> "Program":
        """With other items in place of those numbered; None takes one away, and its tokens."""
        gone = {number for number, item in changed.items() if item is None}

        def kept(items: tuple[Item, ...]) -> tuple[Item, ...]:
            after = (changed.get(item.number, item) for item in items)
            return tuple(item for item in after if item is not None)

        phases = tuple(
            Phase(kept(phase.before), kept(phase.body), kept(phase.after), phase.turns)
            for phase in self.phases
        )
        tokens = tuple(token for token in self.tokens if not gone & set(token))
        return replace(self, phases=phases, tokens=tokens)

    def lower(self) -> "Listing":
        """The instructions."""
        return _Lowering(self).run()


@dataclass
class Listing:
    """``flips``: bits to invert in the words of some instructions; ``where``: index of each item's
    own instruction."""

    ops: list[Op] = field(default_factory=list)
    flips: dict[int, int] = field(default_factory=dict)
    where: dict[int, int] = field(default_factory=dict)

    def code(self) -> bytes:
        """The program's words."""
        words = [int.from_bytes(encode(op), "little") for op in self.ops]
        for index, bits in self.flips.items():
            words[index] ^= bits
        return b"".join(word.to_bytes(32, "little") for word in words)


class _Lowering:
    def __init__(self, program: Program) -> None:
        self.program, self.listing = program, Listing()
        self.guards = guards(program)
        self.ends: dict[int, int] = {}  # index behind each item
        self.branches: list[tuple[int, Item]] = []

    def run(self) -> Listing:
        for phase in self.program.phases:
            self._phase(phase)
        for index, item in self.branches:
            self._resolve(index, item)
        return self.listing

    def _emit(self, mnemonic: str, **fields: int | Reg) -> None:
        self.listing.ops.append(Op(mnemonic, dict(fields)))

    def _phase(self, phase: Phase) -> None:
        for item in phase.before:
            self._item(item)
        for item in phase.body:
            if item.moving:
                name, other = item.moving
                value = item.number_of(name)
                self._emit("add", rd=VALUE, rs=Reg(0), x=value)
                self._emit("add", rd=TOTAL, rs=Reg(0), x=value + other)
        start = len(self.listing.ops) + 1
        if phase.turns > 1:
            self._emit("add", rd=COUNTER, rs=Reg(0), x=0)
        for item in phase.body:
            self._item(item)
        if phase.turns > 1:
            self._emit("add", rd=COUNTER, rs=COUNTER, x=1)
            self._emit("blt", rs=COUNTER, x=phase.turns, y=start)
        for item in phase.after:
            self._item(item)

    def _item(self, item: Item) -> None:
        listing, fields = self.listing, dict(item.op.fields)
        dice = random.Random(item.number)
        for name, value in item.via.items():
            register = Reg(list(item.op.spec.format.slots).index(name) + 1)
            listing.ops += _load_register(register, value, dice)
            fields[name] = register
        if item.moving:
            fields[item.moving[0]] = VALUE
        by_register = item.skips and dice.random() < 0.3
        if by_register:
            self._emit("add", rd=BRANCH_TARGET, rs=Reg(0), x=0)
            fields["y"] = BRANCH_TARGET
        waits, signals = self.guards[item.number]
        if item.ahead:
            listing.ops.append(replace(item.ahead, waits=waits))
            waits = ()
        index = listing.where[item.number] = len(listing.ops)
        listing.ops.append(Op(item.op.mnemonic, fields, waits + item.waits, signals + item.signals))
        if item.flips:
            listing.flips[index] = item.flips
        if item.moving:
            self._emit("sub", rd=VALUE, rs=TOTAL, x=VALUE)
        if item.op.mnemonic in ("beq", "blt") and "y" not in item.op.fields:
            self.branches.append((index - 1 if by_register else index, item))
        self.ends[item.number] = len(listing.ops)

    def _resolve(self, index: int, item: Item) -> None:
        """Fill in the target of a branch, or of the `add` in front of it that loads it."""
        own = self.listing.where[item.number]
        target = max([self.ends[n] for n in item.skips if n in self.ends], default=own + 1)
        op, name = self.listing.ops[index], "y" if index == own else "x"
        self.listing.ops[index] = replace(op, fields={**op.fields, name: target})


Guard = tuple[tuple[tuple[int, int], ...], tuple[int, ...]]  # waits, signals


def guards(program: Program) -> dict[int, Guard]:
    """Waits and signals of each item, of all its tokens."""
    engines = {item.number: item.engine for item in program.items()}
    waits: dict[int, list[tuple[int, int]]] = {number: [] for number in engines}
    signals: dict[int, list[int]] = {number: [] for number in engines}
    for sender, receiver in program.tokens:
        semaphore = program.semaphore(engines[sender], engines[receiver])
        signals[sender].append(semaphore)
        waits[receiver] = _one_more(waits[receiver], semaphore)
    return {number: (tuple(waits[number]), tuple(signals[number])) for number in engines}


def _one_more(waits: list[tuple[int, int]], semaphore: int) -> list[tuple[int, int]]:
    """Add a token to the last wait for ``semaphore`` that has room, else as a wait of its own."""
    for index, (known, count) in reversed(list(enumerate(waits))):
        if known == semaphore and count < MOST_TOKENS:
            return [*waits[:index], (semaphore, count + 1), *waits[index + 1 :]]
    return [*waits, (semaphore, 1)]


def has_room(program: Program, token: Token) -> bool:
    """Whether both items of a further token have a slot for it."""
    needed = guards(replace(program, tokens=(*program.tokens, token)))
    return len(needed[token[0]][1]) <= SIGNALS and len(needed[token[1]][0]) <= WAITS


def _load_register(register: Reg, value: int, dice: random.Random) -> list[Op]:
    """Instructions that bring a value into a register, in one of several ways."""
    part, zero = dice.randrange(1 << 12), Reg(0)

    def op(mnemonic: str, rs: Reg, x: int) -> Op:
        return Op(mnemonic, {"rd": register, "rs": rs, "x": x & (1 << 32) - 1})

    ways = [
        [op(dice.choice(["add", "or", "max"]), zero, value)],
        [op("add", zero, value - part), op("add", register, part)],
        [op("add", zero, value + part), op("sub", register, part)],
        [op("add", zero, value), op("and", register, value | part)],
        [op("add", zero, min(value + part, (1 << 32) - 1)), op("min", register, value)],
    ]
    if value % 4 == 0:
        ways.append([op("add", zero, value >> 2), op("shl", register, 2)])
        ways.append([op("add", zero, value >> 1), op("mul", register, 2)])
    if value < 1 << 27:
        ways.append([op("add", zero, value << 5 | part & 31), op("shr", register, 5)])
    return dice.choice(ways)
