"""Several sequences on one program with slots: they join, go on in one launch together, and leave.

A sequence's keys lie in pages of the KV cache that it gets as it grows and gives back as it leaves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isa.image import ProgramImage
from sim.backends import Backend, Run
from sim.host import Host, InputError


@dataclass
class Place:
    """A slot's sequence: tokens in the cache, pages that hold them, tokens of the next launch."""

    past: int = 0
    new: int = 0
    pages: list[int] = field(default_factory=list)


class Slots:
    """The sequences of a program with slots on a back end. ``runs`` and ``cycles`` so far;
    ``tokens``: read by all of them."""

    def __init__(self, image: ProgramImage, backend: Backend) -> None:
        if image.io.slots is None:
            raise InputError("the program was compiled without --slots: it takes one sequence")
        self.io, self.backend = image.io, backend
        self.hbm = image.memory()
        self._host = Host(image, self.hbm)
        backend.load(image, self.hbm)
        self._free = list(range(image.io.slots.pages))
        self._places: dict[int, Place] = {}
        self.runs = self.cycles = self.tokens = 0

    @property
    def sequences(self) -> list[int]:
        """Slots that are taken."""
        return sorted(self._places)

    def past(self, slot: int) -> int:
        """Tokens in the slot's cache."""
        return self._place(slot).past

    def join(self) -> int:
        """Take a slot for a new sequence; InputError if all are taken."""
        assert self.io.slots is not None
        for slot in range(self.io.slots.count):
            if slot not in self._places:
                self._places[slot] = Place()
                return slot
        raise InputError(f"all {self.io.slots.count} slots of the program are taken")

    def leave(self, slot: int) -> None:
        """End a slot's sequence: its pages are free again."""
        self._free += self._place(slot).pages
        del self._places[slot]

    def step(self, tokens: Mapping[int, Sequence[int] | NDArray]) -> dict[int, NDArray[np.float32]]:
        """Append tokens to sequences, by slot: (S,) each → logits (S, vocabulary) each, in one
        launch. InputError, and nothing changed, where they are too many for it or for the pages."""
        order = sorted(slot for slot, ids in tokens.items() if len(ids))
        self._admit({slot: len(tokens[slot]) for slot in order})
        ids = [np.asarray(tokens[slot], np.int64) for slot in order]
        places = [self._places[slot] for slot in order]
        for place, part in zip(places, ids, strict=True):
            place.new = len(part)
        positions = [np.arange(p.past, p.past + p.new) for p in places]
        self._host.prepare_rows(np.concatenate(ids), np.concatenate(positions))
        self._write_records()
        self._count(self.backend.run())
        logits = self._host.rows(sum(map(len, ids)))
        for place in places:
            self.tokens += place.new
            place.past, place.new = place.past + place.new, 0
        ends = np.cumsum([len(part) for part in ids])[:-1]
        return dict(zip(order, np.split(logits, ends), strict=True))

    def _admit(self, counts: Mapping[int, int]) -> None:
        """Check what is asked for, and give each sequence the pages it needs."""
        slots, total = self.io.slots, sum(counts.values())
        assert slots is not None
        if not 0 < total <= self.io.largest_launch:
            most = self.io.largest_launch
            raise InputError(f"a launch takes 1 … {most} new tokens of all slots, not {total}")
        wanted = {}
        for slot, count in counts.items():
            place = self._place(slot)
            end = place.past + count
            if end > self.io.max_context:
                problem = f"slot {slot}: {end} tokens exceed the program's context of "
                raise InputError(f"{problem}{self.io.max_context}")
            wanted[slot] = -(-end // slots.page_tokens) - len(place.pages)
        if sum(wanted.values()) > len(self._free):
            free = f"{len(self._free)} of {slots.pages} are free"
            raise InputError(f"{sum(wanted.values())} more pages are needed, {free}")
        for slot, count in wanted.items():
            self._places[slot].pages += [self._free.pop() for _ in range(count)]

    def _place(self, slot: int) -> Place:
        if slot not in self._places:
            raise InputError(f"slot {slot} holds no sequence")
        return self._places[slot]

    def _write_records(self) -> None:
        assert self.io.slots is not None
        for slot in range(self.io.slots.count):
            place = self._places.get(slot, Place())
            self.io.slots.write(self.hbm, slot, place.new, place.past, place.pages)

    def _count(self, result: Run) -> None:
        self.runs += 1
        self.cycles += result.cycles
