"""The static checker: what an in-order simulator cannot see.

It follows the sequencer through the program (registers are concrete, data is not touched) and
proves of the resulting trace of commands that

* every two accesses to the same bytes or accumulators by different engines, one of them a write,
  are ordered by semaphores, by `sync` or by the sequencer,
* no semaphore can deadlock: each has one signalling and one waiting engine, and the signals that a
  wait needs come earlier in program order (the sequencer dispatches in order, so the earliest
  waiting instruction can always go on, whatever the depth of the queues); at `sync` and `halt` all
  are zero,
* the rows that a vector instruction writes are not its sources' rows, except in place,
* sizes, alignments and addresses are legal, and stores touch only what the program may write.

At `sync` nothing is open any more: what lies between two of them is checked by itself, and once,
however often a program, or another launch of it, comes by with the same operands.
"""

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.image import ProgramImage
from isa.legal import fault_of
from isa.program import encode
from isa.table import SEMAPHORE_MAX, SEMAPHORES, Engine
from isa.traps import reason
from sim.epoch import Epoch
from sim.errors import SimulationError
from sim.footprint import Access, footprint
from sim.repeats import Repeat, find_repeats
from sim.scalar import Command, ScalarMachine


class CheckError(ValueError):
    """A fault of a program: one line with the instruction and its ONNX node."""


@dataclass
class _Semaphore:
    """Tokens so far: ``sources[i]`` is what who has token i knows, as ``known`` of the checker."""

    producer: Engine | None = None
    consumer: Engine | None = None
    sources: list[list[int]] = field(default_factory=list)
    taken: int = 0


class Checker:
    """Checks one trace. ``known[e]`` counts the instructions of engine e whose effects are
    visible; ``like``: another checker of the same image, whose decoded program is used again."""

    def __init__(
        self, config: ChipConfig, image: ProgramImage, like: "Checker | None" = None
    ) -> None:
        self.config = config
        self.image = image
        self.machine: ScalarMachine = like.machine if like else ScalarMachine(config, image.code)
        self.repeats: dict[int, Repeat] = like.repeats if like else _repeats(self.machine)
        self.writable: list[tuple[int, int]] = like.writable if like else _writable(image)
        self.atoms = 0  # of the memory
        self.semaphores = [_Semaphore() for _ in range(SEMAPHORES)]
        self.count = [0] * len(Engine)
        self.known = {engine: [0] * len(Engine) for engine in Engine}
        self.epoch = Epoch()
        # What legal commands access, by mnemonic and fields.
        self.legal: dict[tuple[str, tuple], list[Access]] = like.legal if like else {}
        # What was checked from one `sync` to the next: places and fields of its commands.
        self.proven: set[tuple] = like.proven if like else set()
        self.entered: dict[int, list[int]] = {}  # registers before a loop over layers
        self.stored: list[tuple[Command, Access]] = []  # in memory, since then

    def run(self, memory: np.ndarray) -> int:
        """Check the whole trace; returns the number of commands. Raises CheckError."""
        self.atoms = memory.size // HBM_ATOM_BYTES
        commands, segment = 0, list[Command]()
        try:
            for command in self.machine.run(memory):
                segment.append(command)
                if command.mnemonic not in ("sync", "halt"):
                    continue
                self._segment(segment)
                commands += len(segment)
                segment.clear()
                if repeat := self.repeats.get(command.pc):
                    self._follow(repeat, command)
        except SimulationError as error:
            for command in segment:  # what is wrong before the program stops comes first
                self._command(command)
            raise CheckError(str(error)) from None
        return commands

    def _segment(self, segment: list[Command]) -> None:
        """Check what lies between two `sync`; of one that is known, only note what it stores."""
        key = tuple((command.pc, command.fields) for command in segment)
        if key in self.proven:
            for command in segment:
                if command.engine == Engine.STORE and self.image.io.is_model:
                    self._store_target(command, self._accesses(command))
            return
        for command in segment:
            self._command(command)
        self.proven.add(key)

    def _follow(self, repeat: Repeat, command: Command) -> None:
        """In a loop over layers, go on with the last one, if the others are as the first: only
        elsewhere in memory. What they reach lies between what the first and the last do."""
        registers = self.machine.registers
        kept = [registers[index] for index in sorted(repeat.kept)]
        before = self.entered.pop(repeat.sync, None)
        if command.pc == repeat.before:
            self.entered[repeat.sync] = kept
            self.stored.clear()
            return
        step = registers[repeat.register] + repeat.tail - repeat.start
        left = repeat.left(registers[repeat.register], step) if before == kept and step > 0 else 0
        for store, access in self.stored if left > 1 else ():
            for number in range(1, left if store.pc in repeat.walking else 0):
                distance = number * step * HBM_ATOM_BYTES
                self._inside(store, access._replace(base=access.base + distance))
        if left > 1:
            registers[repeat.register] += (left - 1) * step

    def _command(self, command: Command) -> None:
        engine = command.engine
        mine = self.known[engine]
        _join(mine, self.known[Engine.SEQUENCER])  # dispatched after all that the sequencer did
        for semaphore, count in command.waits:
            self._wait(command, semaphore, count, mine)
        if command.mnemonic in ("sync", "halt"):
            self._barrier(command)
        accesses = self._accesses(command)
        if engine == Engine.STORE and self.image.io.is_model:
            self._store_target(command, accesses)
        if engine == Engine.VECTOR:
            self._aliasing(command, accesses)
        for access in accesses:
            self._hazards(command, access, mine)
            self.epoch.add(access, command, self.count[engine])
        mine[engine] = self.count[engine] = self.count[engine] + 1
        for semaphore in command.signals:
            self._signal(command, semaphore, list(mine))

    def _barrier(self, command: Command) -> None:
        for number, semaphore in enumerate(self.semaphores):
            if len(semaphore.sources) != semaphore.taken:
                left = len(semaphore.sources) - semaphore.taken
                raise self._error(command, f"semaphore s{number} is left at {left}, not 0")
        self.semaphores = [_Semaphore() for _ in range(SEMAPHORES)]
        for engine in Engine:
            _join(self.known[engine], self.count)
        self.epoch = Epoch()

    def _accesses(self, command: Command) -> list[Access]:
        """What a legal command accesses."""
        key = command.mnemonic, command.fields
        if key not in self.legal:
            if command.engine != Engine.SEQUENCER:
                found = fault_of(self.config, command.mnemonic, command.fields, self.atoms)
                if found:
                    problem = reason(found.fault, encode(command.op)) + found.detail
                    raise self._error(command, problem)
            self.legal[key] = footprint(self.config, command)
        return self.legal[key]

    def _store_target(self, command: Command, accesses: list[Access]) -> None:
        for access in accesses:
            if access.space == "hbm":
                self._inside(command, access)
                self.stored.append((command, access))

    def _inside(self, command: Command, access: Access) -> None:
        place = bisect_right(self.writable, (access.base, self.image.config.capacity_bytes)) - 1
        if place < 0 or self.writable[place][1] < access.end:
            raise self._error(command, f"stores to 0x{access.base:x}, which holds no output")

    def _wait(self, command: Command, number: int, count: int, mine: list[int]) -> None:
        semaphore = self.semaphores[number]
        if semaphore.consumer not in (None, command.engine):
            raise self._error(command, f"semaphore s{number} has a second waiting engine")
        semaphore.consumer = command.engine
        semaphore.taken += count
        if semaphore.taken > len(semaphore.sources):
            raise self._error(
                command, f"waits for semaphore s{number}, which nothing before signals"
            )
        _join(mine, semaphore.sources[semaphore.taken - 1])

    def _signal(self, command: Command, number: int, known: list[int]) -> None:
        semaphore = self.semaphores[number]
        if semaphore.producer not in (None, command.engine):
            raise self._error(command, f"semaphore s{number} has a second signalling engine")
        semaphore.producer = command.engine
        semaphore.sources.append(known)
        if len(semaphore.sources) - semaphore.taken > SEMAPHORE_MAX:
            raise self._error(command, f"semaphore s{number} can exceed {SEMAPHORE_MAX}")

    def _hazards(self, command: Command, access: Access, mine: list[int]) -> None:
        for suspect in self.epoch.suspects(access, command.engine, mine):
            if _overlap(access, suspect.access):
                earlier = suspect.command
                kind = "writes" if access.write else "reads"
                raise self._error(
                    command,
                    f"{kind} {access.space} 0x{access.base:x} with no semaphore after instruction "
                    f"{earlier.pc} ({earlier.mnemonic})",
                )

    def _aliasing(self, command: Command, accesses: list[Access]) -> None:
        """Sources are read ahead of results: result row r may overwrite source row r alone."""
        if not accesses:
            return
        result, *sources = accesses
        for source in sources:
            in_place = source.base == result.base and source.rows == result.rows
            in_place &= source.stride == result.stride or source.rows == 1
            in_place &= result.length <= source.length
            if source.space == "sram" and not in_place and _overlap(result, source):
                problem = f"result and source overlap at sram 0x{source.base:x} in different places"
                raise self._error(command, problem)

    def _error(self, command: Command, problem: str) -> CheckError:
        node = self.image.node_of(command.pc)
        where = f"instruction {command.pc} ({command.mnemonic})"
        return CheckError(f"{where}{f' of {node}' if node else ''}: {problem}")


def _writable(image: ProgramImage) -> list[tuple[int, int]]:
    """Where in memory a model's program may store: bases and ends, in order."""
    kinds = ("kv", "output", "scratch")
    return sorted((t.address, t.end) for t in image.io.tensors if t.kind in kinds)


def _repeats(machine: ScalarMachine) -> dict[int, Repeat]:
    """Loops over layers by the places of the `sync` before them and of their last one."""
    try:
        found = find_repeats(machine.ops())
    except SimulationError:  # no program; the trace stops there
        return {}
    return {place: repeat for repeat in found for place in (repeat.before, repeat.sync)}


def _join(clock: list[int], other: list[int]) -> None:
    for engine, value in enumerate(other):
        clock[engine] = max(clock[engine], value)


def _overlap(a: Access, b: Access) -> bool:
    """Exact, where the bounds overlap: rows against rows."""
    starts_a, starts_b = a.starts()[:, None], b.starts()[None, :]
    return bool(np.any((starts_a < starts_b + b.length) & (starts_b < starts_a + a.length)))
