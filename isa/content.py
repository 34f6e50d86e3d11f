"""What memory holds when a program starts, in pieces that are computed when they are wanted."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
_KEPT_BYTES = 1 << 26  # contents up to this size are computed once


@dataclass(frozen=True)
class Piece:
    """``size`` bytes from ``address`` on; ``make`` gives them as an array of any type."""

    address: int
    size: int
    make: Callable[[], NDArray]

    def data(self) -> Bytes:
        """(size,) uint8."""
        data = np.ascontiguousarray(self.make()).reshape(-1).view(np.uint8)
        assert data.size == self.size, f"{data.size} bytes at {self.address}, not {self.size}"
        return data


class Content:
    """Pieces by address, which do not overlap; what lies between them is zero. Weights need not be
    in memory all at once: `parts` makes one piece after another."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = sorted(pieces, key=lambda piece: piece.address)
        self._kept: Bytes | None = None

    @property
    def size(self) -> int:
        """Bytes up to the end of the last piece."""
        return max((piece.address + piece.size for piece in self._pieces), default=0)

    def parts(self) -> Iterator[Bytes]:
        """All bytes from address 0 on, piece by piece."""
        at = 0
        for piece in self._pieces:
            if piece.address > at:
                yield np.zeros(piece.address - at, np.uint8)
            yield piece.data()
            at = piece.address + piece.size

    def fill(self, memory: Bytes) -> None:
        """Write the pieces into a memory of zeros."""
        if self._kept is None and self.size <= _KEPT_BYTES:
            self._kept = np.concatenate([np.zeros(0, np.uint8), *self.parts()])
        if self._kept is not None:
            memory[: self._kept.size] = self._kept
            return
        for piece in self._pieces:
            memory[piece.address : piece.address + piece.size] = piece.data()


def content_of(data: Bytes) -> Content:
    """Bytes that exist, from address 0 on."""
    return Content([Piece(0, data.size, lambda: data)] if data.size else [])
