"""A tuned matrix product from HBM to HBM: what the chip reaches where nothing but its size binds.

Panels of B stream through a ring of buffers while A stays; halves of the accumulators alternate.
Groups of panels, and blocks of rows, are small at both ends, where loads and stores do not overlap
with the array's work.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from isa.config import BF16_BYTES, HBM_ATOM_BYTES, ChipConfig
from isa.formats import FORMATS
from isa.image import ProgramImage
from isa.program import Op, Value
from isa.table import INSTRUCTION_BYTES

# Semaphores: each counts one kind of event. Free: of buffers and halves, from their second use on.
A_LOADED, B_LOADED, B_FREE, SUMS_DONE, SUMS_FREE, C_MADE, C_FREE = range(7)
_EDGE_ROWS = 64  # of A in the first and last blocks
_LONGEST_ROW = 1 << 16  # bytes that a load brings as one row
_CODE_BYTES = 1 << 18
_AHEAD = 3  # loads that are asked for before a block's own are there


@dataclass(frozen=True)
class Gemm:
    """C = A B on the chip ``config``: A (m, k) and C (m, n) bf16, row by row in HBM from the byte
    addresses ``a`` and ``c`` on; B (k, n) in storage format ``weights``, panel by panel from ``b``
    on. k and n are multiples of the array's sides, rows of A and C of atoms.

    ValueError where A and two groups of B do not fit the SRAM.
    """

    config: ChipConfig
    m: int
    k: int
    n: int
    weights: str = "bf16"

    def __post_init__(self) -> None:
        config = self.config
        atoms = self.a_row % HBM_ATOM_BYTES == 0 and self.c_row % HBM_ATOM_BYTES == 0
        fits = self.k % config.rows == 0 and self.n % config.cols == 0
        if config.element != "bf16" or not atoms or not fits:
            raise ValueError(f"{config.name} has no such product: {self.m} x {self.k} x {self.n}")
        if self.slots < 2 or self.m > config.acc_rows // 2:
            raise ValueError(f"{config.name} has no room for {self.m} x {self.k} x {self.n}")

    @property
    def a_row(self) -> int:
        return BF16_BYTES * self.k

    @property
    def c_row(self) -> int:
        return BF16_BYTES * self.n

    @property
    def header_bytes(self) -> int:
        """Scales ahead of a panel's weights."""
        entry = FORMATS[self.weights]
        scales = self.k // entry.block * entry.scale_bytes * self.config.cols if entry.block else 0
        return self._lines(scales)

    @property
    def panel_bytes(self) -> int:
        stored = FORMATS[self.weights].bytes_of(self.k * self.config.cols)
        return self.header_bytes + self._lines(stored)

    @property
    def a(self) -> int:
        return _CODE_BYTES

    @property
    def b(self) -> int:
        return self.a + self.m * self.a_row

    @property
    def c(self) -> int:
        return self.b + self.n // self.config.cols * self.panel_bytes

    @property
    def most_panels(self) -> int:
        """Of a group: an eighth of the SRAM; with a block of rows half the accumulators. Where
        loads take as long as the array's work, that ends a group behind them: a 16th of few rows'
        panels at most."""
        panels = self.n // self.config.cols
        most = self.config.acc_rows // 2 // min(self.m, _EDGE_ROWS)
        few = panels // 16 if self.m <= _EDGE_ROWS else panels
        most = min(most, self.config.sram_bytes // 8 // self.panel_bytes, few)
        return max(most, 1)

    @property
    def slots(self) -> int:
        """Groups of B in the SRAM."""
        room = self.config.sram_bytes - self._ring
        return room // (self.most_panels * self.panel_bytes)

    @property
    def _ring(self) -> int:
        """Where the ring begins: behind A and two blocks of C."""
        return self.m * self._a_sram + 2 * self._c_block

    @property
    def _a_sram(self) -> int:
        """Distance of rows of A in the SRAM."""
        return self._lines(self.a_row)

    def _lines(self, size: int) -> int:
        line = self.config.line_bytes
        return -(-size // line) * line

    @property
    def _c_block(self) -> int:
        line, cols = self.config.line_bytes, BF16_BYTES * self.config.cols
        return self.config.acc_rows // 2 * max(cols, line)

    @property
    def image(self) -> ProgramImage:
        """The program; its image of HBM holds no operands."""
        ops = [*self._ops(), Op("halt")]
        if len(ops) * INSTRUCTION_BYTES > _CODE_BYTES:
            raise ValueError(f"a product of {self.m} x {self.k} x {self.n} has too many blocks")
        return ProgramImage.from_ops(self.config, ops, hbm_bytes=self.c + self.m * self.c_row)

    def panels(self, b: NDArray) -> NDArray:
        """B, (k, n) of a format without blocks, as it lies in HBM."""
        return np.concatenate([part.ravel() for part in np.split(b, self.n // self.config.cols, 1)])

    def _groups(self) -> list[int]:
        """Numbers of panels: 1, 2, 4 … 4, 2, 1."""
        counts: list[int] = []
        left = self.n // self.config.cols
        while left:
            counts.append(min(1 << len(counts) // 2, self.most_panels, left))
            left -= counts[-1]
        counts.sort()
        return counts[::2] + counts[1::2][::-1]

    def _blocks(self, groups: list[int]) -> Iterator["_Block"]:
        """Of C, in the order in which they are made: groups of panels, and in each rows."""
        panel = 0
        for group, count in enumerate(groups):
            edge = group in (0, len(groups) - 1)
            most = min(self.config.acc_rows // 2 // count, _EDGE_ROWS if edge else self.m)
            for top in range(0, self.m, most):
                yield _Block(group, panel, count, top, min(most, self.m - top))
            panel += count

    def _ops(self) -> Iterator[Op]:
        groups, given = self._groups(), 0
        blocks, loads = list(self._blocks(groups)), list(self._loads(groups))
        pieces = -(-self.m // _EDGE_ROWS)
        for number, block in enumerate(blocks):
            needed = block.group + pieces if block.group else 1 + block.top // _EDGE_ROWS
            yield from loads[given : needed + _AHEAD]
            given = max(given, needed + _AHEAD)
            last = number >= len(blocks) - 2  # nobody waits for what it frees
            yield self._matmul(block, number, block.group + self.slots < len(groups))
            yield from self._drain(block, number, last)

    def _loads(self, groups: list[int]) -> Iterator[Op]:
        """Of A piece by piece and of B group by group, in the order in which they are needed."""
        for top in range(0, self.m, _EDGE_ROWS):
            rows = min(_EDGE_ROWS, self.m - top)
            fields = _transfer(self.a + top * self.a_row, self.a_row, top * self._a_sram)
            fields |= {"sstride": self._a_sram, "rows": rows, "bytes": self.a_row}
            yield Op("load", fields, signals=(A_LOADED,))
            if top == 0:
                yield self._load_group(groups, 0, 0)
        panel = groups[0]
        for group in range(1, len(groups)):
            yield self._load_group(groups, group, panel)
            panel += groups[group]

    def _load_group(self, groups: list[int], group: int, panel: int) -> Op:
        size = gcd(self.panel_bytes, _LONGEST_ROW)
        fields = _transfer(self.b + panel * self.panel_bytes, size, self._slot(group))
        rows = groups[group] * self.panel_bytes // size
        fields |= {"sstride": size, "rows": rows, "bytes": size}
        waits = ((B_FREE, 1),) if group >= self.slots else ()
        return Op("load", fields, waits=waits, signals=(B_LOADED,))

    def _slot(self, group: int) -> int:
        return self._ring + group % self.slots * self.most_panels * self.panel_bytes

    def _matmul(self, block: "_Block", number: int, again: bool) -> Op:
        """``again``: the group's buffer is used once more."""
        config, cols = self.config, self.config.cols
        stride, rows = FORMATS[self.weights].bytes_of(cols), block.rows
        fields: dict[str, Value] = {
            "acc": number % 2 * (config.acc_rows // 2),
            "m": rows,
            "n": block.count * cols,
            "a": block.top * self._a_sram,
            "astride": self._a_sram,
            "k": self.k,
            "af": "bf16",
            "w": self._slot(block.group),
            "wstride": stride,
            "wpanel": self.panel_bytes,
            "wf": self.weights,
        }
        waits = [(A_LOADED, 1)] * (block.group == 0) + [(B_LOADED, 1)] * (block.top == 0)
        waits += [(SUMS_FREE, 1)] * (number > 1)
        signals = [SUMS_DONE] + [B_FREE] * (again and block.top + rows == self.m)
        return Op("matmul", fields, waits=tuple(waits), signals=tuple(signals))

    def _drain(self, block: "_Block", number: int, last: bool) -> Iterator[Op]:
        """Sums become bf16 rows of C, and these go to HBM."""
        config, half, rows = self.config, number % 2, block.rows
        size = BF16_BYTES * config.cols * block.count
        place, stride = self.m * self._a_sram + half * self._c_block, self._lines(size)
        moved: dict[str, Value] = {"dst": place, "dstride": stride, "at": "acc", "dt": "bf16"}
        moved |= {"a": half * (config.acc_rows // 2), "astride": rows, "rows": rows}
        moved |= {"cols": block.count * config.cols}
        free = ((C_FREE, 1),) if number > 1 else ()
        signals = (C_MADE,) if last else (SUMS_FREE, C_MADE)
        yield Op("vmov", moved, waits=((SUMS_DONE, 1), *free), signals=signals)
        start = self.c + block.top * self.c_row + block.panel * BF16_BYTES * config.cols
        fields = _transfer(start, self.c_row, place)
        fields |= {"sstride": stride, "rows": rows, "bytes": size}
        yield Op("store", fields, waits=((C_MADE, 1),), signals=() if last else (C_FREE,))


@dataclass(frozen=True)
class _Block:
    """``count`` panels of C from number ``panel`` on, a group's; ``rows`` from ``top`` on."""

    group: int
    panel: int
    count: int
    top: int
    rows: int


def _transfer(start: int, stride: int, sram: int) -> dict[str, Value]:
    atom, offset = divmod(start, HBM_ATOM_BYTES)
    return {"hbm": atom, "offset": offset, "hstride": stride // HBM_ATOM_BYTES, "sram": sram}
