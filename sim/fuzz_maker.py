"""Makes random programs that keep all engines busy at the same time, for back ends that must agree.

In a phase the load engine fills one quarter of the SRAM, the matrix unit reads the second, the
vector unit works in the third, the store engine reads the fourth; then the roles turn. The halves
of the accumulators alternate. The sequencer computes with registers of its own, and reads and
writes words of memory that no engine touches at that time.
"""

import itertools
import random
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.program import Op, Reg, Value, encode_program
from isa.table import Engine
from sim.fuzz_operands import (
    HBM_ATOMS,
    LIST_ATOM,
    NUMBERS,
    SCRATCH_ATOM,
    SOURCE_ATOM,
    TABLE_ATOM,
    TARGET_ATOM,
    Made,
    OperandMaker,
)
from sim.fuzz_program import DATA, Item, Phase, Program, Token, has_room
from sim.scalar import ALU

ENGINES = (Engine.LOAD, Engine.STORE, Engine.MATRIX, Engine.VECTOR)
NOPS = {Engine.LOAD: "lnop", Engine.STORE: "snop", Engine.MATRIX: "mnop", Engine.VECTOR: "vnop"}
SECTIONS = ("before", "body", "after")


@lru_cache(maxsize=8)  # a program that is being shrunk needs the same ones again and again
def random_bytes(size: int, seed: int) -> NDArray[np.uint8]:
    """Blocks of numbers of every type that operands can have, and of any bits; not writeable."""
    dice = np.random.default_rng(seed)
    blocks = np.zeros((-(-size // 4096), 4096), np.uint8)
    for index, block in enumerate(blocks):
        values = dice.normal(0, 2.0 ** dice.integers(-8, 8), 1024).astype(np.float32)
        halves = dice.normal(0, 2, 2048).astype(np.float32).view(np.uint16)[1::2].copy()
        kinds: list[NDArray[Any]] = [
            dice.integers(0, 256, 4096, dtype=np.uint8),
            values,
            halves,
            dice.integers(0x70, 0x90, 4096, dtype=np.uint8),  # scales around 1
        ]
        block[:] = kinds[index % 4].view(np.uint8)
    blocks.flags.writeable = False
    return blocks.reshape(-1)[:size]


def random_memory(ops: list[Op], seed: int) -> NDArray[np.uint8]:
    """HBM with the program at 0."""
    return memory_of(encode_program(ops), seed)


def memory_of(code: bytes, seed: int) -> NDArray[np.uint8]:
    """HBM with ``code`` at 0, random numbers at the sources of loads and gathers, and row numbers
    for these."""
    memory = np.zeros(HBM_ATOMS * HBM_ATOM_BYTES, np.uint8)
    start, end = SOURCE_ATOM * HBM_ATOM_BYTES, TARGET_ATOM * HBM_ATOM_BYTES
    if len(code) > start:
        raise ValueError(f"a random program must fit in {start} bytes, not {len(code)}")
    memory[: len(code)] = np.frombuffer(code, np.uint8)
    memory[start:end] = random_bytes(end - start, seed)
    start, end = LIST_ATOM * HBM_ATOM_BYTES, TABLE_ATOM * HBM_ATOM_BYTES
    numbers = np.random.default_rng(seed).integers(0, NUMBERS, (end - start) // 4, np.uint32)
    memory[start:end] = numbers.view(np.uint8)
    memory[end:] = random_bytes(memory.size - end, seed + 3)
    return memory


class ProgramMaker:
    """Makes one program for ``config``."""

    def __init__(self, config: ChipConfig, seed: int) -> None:
        self.config, self.dice = config, random.Random(seed)
        self.operands = OperandMaker(config, self.dice)
        self.numbers = itertools.count()

    def program(self, phases: int) -> list[Op]:
        """The instructions of `structure`."""
        return self.structure(phases).lower().ops

    def structure(self, phases: int) -> Program:
        """The whole program, ended by `halt`."""
        dice = self.dice
        semaphores = tuple(dice.sample(range(32), 32))
        made = [self._begin()]
        crossing: list[Token] = []
        ordered = True  # all that came before is complete when a phase begins
        for index in range(phases):
            phase = self._phase(index, ordered)
            if not ordered:
                crossing += _barrier(made[-1], phase)
            ordered = dice.random() < 0.5
            if ordered:
                phase = replace(phase, after=(*phase.after, self._item(Op("sync"))))
            made.append(phase)
        if not ordered:
            made.append(Phase(body=(self._item(Op("sync")),)))
        made.append(self._end())
        program = Program(tuple(made), tuple(crossing), semaphores)
        for phase in made:
            for name in SECTIONS:
                program = self._tokens(program, getattr(phase, name))
        return program

    def _item(self, op: Op, **rest: Any) -> Item:
        return Item(next(self.numbers), op, **rest)

    def _begin(self) -> Phase:
        """The sequencer's numbers to compute with."""
        ops = (Op("add", {"rd": r, "rs": Reg(0), "x": self.dice.getrandbits(32)}) for r in DATA)
        return Phase(body=tuple(self._item(op) for op in ops))

    def _end(self) -> Phase:
        """What the sequencer has computed goes to memory."""
        stores = [
            self._item(Op("st", {"rs": register, "x": SCRATCH_ATOM, "y": 4 * index}))
            for index, register in enumerate(DATA)
        ]
        return Phase(body=(*stores, self._item(Op("halt"))))

    def _phase(self, index: int, ordered: bool) -> Phase:
        dice = self.dice
        turns = dice.randint(2, 4) if dice.random() < 0.3 else 1
        queues = self._queues(index)
        queues[Engine.SEQUENCER] = [self._scalar() for _ in range(dice.randrange(7))]
        body: list[Item] = []
        while any(queues.values()):
            body.append(queues[dice.choice([e for e, queue in queues.items() if queue])].pop(0))
        before = [self._from_target()] if ordered and dice.random() < 0.3 else []
        nops = [[self._item(Op(NOPS[engine])) for engine in ENGINES] for _ in range(2)]
        if turns > 1:
            body = self._moving(body)
        else:
            nops = [[], []]  # the barriers' tokens fit to the items themselves
        body = self._skips(body)
        return Phase((*before, *nops[0]), tuple(body), tuple(nops[1]), turns)

    def _queues(self, index: int) -> dict[Engine, list[Item]]:
        """At least one item for each engine."""
        quarter, half = self.config.sram_bytes // 4, self.config.acc_rows // 2
        places = [(index + turn) % 4 * quarter for turn in range(4)]
        sram = [range(place, place + quarter) for place in places]
        acc = [range((index + turn) % 2 * half, ((index + turn) % 2 + 1) * half) for turn in (0, 1)]
        makers = {
            Engine.LOAD: lambda: self.operands.load_or_gather(sram[0]),
            Engine.MATRIX: lambda: self.operands.matmul(sram[1], acc[0]),
            Engine.VECTOR: lambda: self.operands.vector(sram[2], acc[1]),
            Engine.STORE: lambda: self.operands.dma("store", sram[3]),
        }
        queues = {}
        for engine, make in makers.items():
            count = self.dice.randint(1, 3 if engine != Engine.VECTOR else 6)
            queues[engine] = [self._through_registers(make()) for _ in range(count)]
            if self.dice.random() < 0.2:
                queues[engine].append(self._item(Op(NOPS[engine])))
        return queues

    def _through_registers(self, made: Made) -> Item:
        via = {
            name: value
            for name, value in made.op.fields.items()
            if isinstance(value, int) and self.dice.random() < 0.2
        }
        return self._item(made.op, via=via, places=made.places, ahead=made.ahead)

    def _scalar(self) -> Item:
        """An instruction of the sequencer that computes, reads a source, or uses its own words."""
        dice = self.dice
        one, other = dice.choice(DATA), dice.choice([*DATA, Reg(0)])
        kind = dice.choice(["alu", "alu", "alu", "ld", "st"])
        if kind == "alu":
            operands: list[int | Reg] = [dice.getrandbits(32), dice.randrange(40), *DATA]
            x = dice.choice(operands)
            return self._item(Op(dice.choice([*ALU]), {"rd": other, "rs": one, "x": x}))
        if kind == "ld" and dice.random() < 0.5:
            return self._access("ld", SOURCE_ATOM, TARGET_ATOM, rd=other)
        if kind == "ld":
            return self._access("ld", SCRATCH_ATOM, LIST_ATOM, rd=other)
        return self._access("st", SCRATCH_ATOM, LIST_ATOM, rs=other)

    def _from_target(self) -> Item:
        """A word that the store engine may have written."""
        return self._access("ld", TARGET_ATOM, SCRATCH_ATOM, rd=self.dice.choice(DATA))

    def _access(self, mnemonic: str, first: int, end: int, **register: Reg) -> Item:
        """One word between two atoms, the address in either operand."""
        atom, word = self.dice.randrange(first, end), 4 * self.dice.randrange(16)
        base = self.dice.choice([atom, self.dice.randint(0, atom)])
        address = {"x": base, "y": HBM_ATOM_BYTES * (atom - base) + word}
        via = {name: value for name, value in address.items() if self.dice.random() < 0.3}
        return self._item(Op(mnemonic, {**register, **address}), via=via)

    def _moving(self, body: list[Item]) -> list[Item]:
        """Let one operand change from turn to turn."""
        movable = [index for index, item in enumerate(body) if item.places]
        chosen = self.dice.choice(movable)
        item = body[chosen]
        name = self.dice.choice(list(item.places))
        via = {key: value for key, value in item.via.items() if key != name}
        moving = name, self.dice.choice(item.places[name])
        body[chosen] = replace(item, moving=moving, via=via)
        return body

    def _skips(self, body: list[Item]) -> list[Item]:
        """Insert branches over a few items, none of which a barrier may need; which way they go
        depends on data."""
        dice = self.dice
        comparands: list[int | Reg] = [0, 1, 1 << 31, *DATA]
        ends = {item.engine: item.number for item in body}
        starts = {item.engine: item.number for item in reversed(body)}
        needed = {*ends.values(), *starts.values()}
        for _ in range(dice.randrange(3)):
            at = dice.randrange(len(body))
            inside = [item.number for item in body[at : at + dice.randint(0, 3)]]
            free = list(itertools.takewhile(lambda number: number not in needed, inside))
            fields: dict[str, Value] = {"rs": dice.choice([*DATA, Reg(0)])}
            fields["x"] = dice.choice(comparands)
            branch = Op(dice.choice(["beq", "blt"]), fields)
            body.insert(at, self._item(branch, skips=tuple(free)))
        return body

    def _tokens(self, program: Program, section: tuple[Item, ...]) -> Program:
        """Add tokens among the items of one section that are always executed together."""
        skipped = _skipped(section)
        items = [item for item in section if item.number not in skipped]
        if len(items) < 2:
            return program
        for _ in range(self.dice.randrange(2 + len(items))):
            first, second = sorted(self.dice.sample(range(len(items)), 2))
            token = items[first].number, items[second].number
            if items[second].op.mnemonic != "halt" and has_room(program, token):
                program = replace(program, tokens=(*program.tokens, token))
        return program


def _skipped(section: tuple[Item, ...]) -> set[int]:
    """Items that a branch may jump over, other branches among them."""
    place = {item.number: index for index, item in enumerate(section)}
    found: set[int] = set()
    for item in section:
        last = max((place[number] for number in item.skips), default=-1)
        found |= {other.number for other in section[place[item.number] + 1 : last + 1]}
    return found


def _barrier(last: Phase, following: Phase) -> list[Token]:
    """A token from the last item of each engine to the first one of each other."""
    ends: dict[Engine, int] = {item.engine: item.number for item in last.items}
    starts: dict[Engine, int] = {}
    for item in following.items:
        starts.setdefault(item.engine, item.number)
    return [(ends[one], starts[other]) for one in ENGINES for other in ENGINES if one != other]
