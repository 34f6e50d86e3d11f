"""Runs a program on two back ends and compares all their memory, bit by bit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa.image import ProgramImage
from sim.backends import Backend, Run
from sim.footprint import Access, footprint, sram_bytes
from sim.host import Host, InputError
from sim.scalar import Command, ScalarMachine

PROMPT_TOKENS = 9  # more than the rows of `tiny`, and odd
_SEED = 2024


@dataclass(frozen=True)
class Comparison:
    """One run on both back ends. ``difference``: the first in one line, None if there is none.

    ``sram_bytes``: what the run's instructions read and write in SRAM.
    """

    name: str
    first: Run
    second: Run
    sram_bytes: int
    difference: str | None


Spaces = dict[str, tuple[NDArray, NDArray]]  # by name, on both back ends


@dataclass(frozen=True)
class _Place:
    """A differing unit: byte of SRAM or HBM, or one accumulator."""

    space: str
    address: tuple[int, ...]
    values: tuple[int, int]

    def __str__(self) -> str:
        if self.space == "acc":
            where = f"accumulator row {self.address[0]} column {self.address[1]}"
        else:
            where = f"{self.space.upper()} byte 0x{self.address[0]:x}"
        return f"{where}: 0x{self.values[0]:x} and 0x{self.values[1]:x}"


class _Pair:
    """A program loaded on both back ends, each with a memory of its own."""

    def __init__(self, image: ProgramImage, backends: tuple[Backend, Backend]) -> None:
        self.image, self.backends = image, backends
        self.memories = (image.memory(), image.memory())
        for backend, memory in zip(backends, self.memories, strict=True):
            backend.load(image, memory)

    def run(self, name: str) -> Comparison:
        before = self.memories[0].copy()
        first, second = (backend.run() for backend in self.backends)
        difference = self._difference(first, second, before)
        return Comparison(name, first, second, sram_bytes(self.image, before), difference)

    def _difference(self, first: Run, second: Run, before: NDArray[np.uint8]) -> str | None:
        a, b = self.backends
        spaces: Spaces = {
            "sram": (a.sram, b.sram),
            "acc": (a.acc.view(np.uint32), b.acc.view(np.uint32)),
            "hbm": self.memories,
        }
        differing = {
            space: np.argwhere(one != other)
            for space, (one, other) in spaces.items()
            if not np.array_equal(one, other)
        }
        names = f"{a.name} and {b.name} differ"
        if not differing:
            for counter, count in first.counters.items():
                if second.counters[counter] != count:
                    return f"{names}: {counter}: {count} and {second.counters[counter]}"
            return None
        written = _last_writers(self.image, before)
        place, command = _earliest(differing, spaces, written)
        text = f"{names} at {place}, {sum(map(len, differing.values()))} places in all"
        if command is None:
            return f"{text}; no instruction of this run wrote it"
        node = self.image.node_of(command.pc)
        source = f", {node}" if node else ""
        return f"{text}; last written by instruction {command.pc} ({command.mnemonic}){source}"


Writers = tuple[list[Command], dict[str, NDArray[np.int32]]]


def _last_writers(image: ProgramImage, memory: NDArray[np.uint8]) -> Writers:
    """The run's commands, and for each unit of each space the last one that wrote it (or -1)."""
    config = image.config
    sizes = {"sram": config.sram_bytes, "acc": config.acc_rows, "hbm": memory.size}
    last = {space: np.full(size, -1, np.int32) for space, size in sizes.items()}
    commands: list[Command] = []
    for command in ScalarMachine(image.config, image.code).run(memory.copy()):
        for access in footprint(config, command):
            if access.write:
                _rows(last[access.space], access)[...] = len(commands)
        commands.append(command)
    return commands, last


def _rows(units: NDArray[np.int32], access: Access) -> NDArray[np.int32]:
    shape = access.planes, access.rows, access.length
    strides = 4 * access.plane, 4 * access.stride, 4
    return np.ndarray(shape, np.int32, units.data, 4 * access.base, strides)


def _earliest(
    differing: dict[str, NDArray], spaces: Spaces, written: Writers
) -> tuple[_Place, Command | None]:
    """The differing place whose last writer comes first in the program, and that writer."""
    commands, last = written
    best: tuple[int, _Place] | None = None
    for space, places in differing.items():
        order = last[space][places[:, 0]]
        first = int(np.where(order < 0, len(commands), order).argmin())
        address = tuple(int(index) for index in places[first])
        one, other = (int(memory[address]) for memory in spaces[space])
        sequence = int(order[first]) if order[first] >= 0 else len(commands)
        if best is None or sequence < best[0]:
            best = (sequence, _Place(space, address, (one, other)))
    assert best is not None
    return best[1], commands[best[0]] if best[0] < len(commands) else None


def verify(
    image: ProgramImage,
    backends: tuple[Backend, Backend],
    steps: int,
    prompt: Sequence[int] | None = None,
    launch: int = 0,
) -> Iterator[Comparison]:
    """Compare two back ends, run by run; ends after the first difference.

    A model gets a prefill of ``prompt``, by default `PROMPT_TOKENS` random tokens, and ``steps``
    decode steps that follow the first back end's choice; with ``launch`` a single run, in which the
    program chooses so many tokens itself. A program without model inputs gets one run.
    """
    steps, asked = (0, f"--launch {launch}") if launch else (steps, f"--steps {steps}")
    room = image.io.max_context - steps - max(0, launch - 1)
    if image.io.is_model and room < len(prompt or [0]):
        raise InputError(
            f"{len(prompt or [0])} tokens and {asked} exceed the program's context of "
            f"{image.io.max_context}"
        )
    pair = _Pair(image, backends)
    if not image.io.is_model:
        yield pair.run("program")
        return
    hosts = [Host(image, memory) for memory in pair.memories]
    random = np.random.default_rng(_SEED)
    count = min(PROMPT_TOKENS, room, image.io.largest_launch)
    tokens = random.integers(0, hosts[0].vocabulary, count)
    tokens = tokens if prompt is None else np.array(prompt)
    for step in range(steps + 1):
        for host in hosts:
            host.prepare(tokens, launch)
        name = f"decode {step}" if step else f"prefill {len(tokens)}"
        compared = pair.run("launch" if launch else name)
        yield compared
        if compared.difference:
            return
        logits, _ = (host.finish(len(tokens)) for host in hosts)
        tokens = np.array([logits[-1].argmax()])
