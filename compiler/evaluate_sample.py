"""The sizes that a graph is evaluated at, and what evaluating it gives."""

from dataclasses import dataclass, field

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """Sizes to bind: `new` tokens after `past`; positions past.. unless given."""

    new: int
    past: int
    positions: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        return self.past + self.new

    def place(self, pick: str) -> int:
        """Which of the new tokens is the "first" or the "last", or stands for one that is picked by
        its id: the one in the middle."""
        return {"first": 0, "last": self.new - 1}.get(pick, self.new // 2)

    def position_array(self) -> np.ndarray:
        """[1, new] int64."""
        positions = self.positions or tuple(range(self.past, self.total))
        return np.array([positions], dtype=np.int64)


@dataclass
class Values:
    """What one sample gave: arrays of known values, element type and shape of activations; the
    names of known values of which only some rows were evaluated."""

    known: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    elem_types: dict[str, int] = field(default_factory=dict)
    rows: set[str] = field(default_factory=set)
