"""Stimulus for the systolic array: tiles and rows at the closest times that it allows."""

import numpy as np

from isa.config import ChipConfig
from rtl.array import group_rows
from tb.matrix_reference import random_operands, tile


class Schedule:
    """Tiles and rows in the earliest cycles, as (cycle → inputs), and what must come out when.

    `sums`: (cycle, column) → bits. Each tile is (rows M, "packed", "single" or "transposed").
    """

    def __init__(self, config: ChipConfig, tiles: list[tuple[int, str]], seed: int) -> None:
        self.config, self.dice = config, np.random.default_rng(seed)
        self.rows: dict[int, tuple[int, list[int]]] = {}
        self.loads: dict[int, dict[str, int | list]] = {}
        self.sums: dict[tuple[int, int], int] = {}
        free = row_at = 0  # earliest cycles of a load and of a row
        swap_at = -config.rows
        for m, layout in tiles:
            load_at = max(free, self._passed(swap_at, layout))
            free = load_at + self._load(layout, load_at)
            swap_at = max(row_at, load_at + 1)
            self._feed(m, swap_at)
            row_at = swap_at + m
        self.cycles = 1 + max(cycle for cycle, _ in self.sums)

    def _passed(self, swap_at: int, layout: str) -> int:
        """The earliest cycle of a load such that the last swap meets none of its rows."""
        rows, q = self.config.rows, group_rows(self.config)
        if layout == "transposed":
            return swap_at + rows - 1
        written = {"packed": lambda r: r // q + r % q, "single": lambda r: r}[layout]
        return max(swap_at + r - written(r) for r in range(rows))

    @staticmethod
    def tiles(rows: int, layout: str) -> list[tuple[int, str]]:
        """Ten tiles of few and many rows, of one layout or of all in turn ("mixed")."""
        layouts = ["packed", "transposed", "single"] if layout == "mixed" else [layout]
        counts = (1, rows, 2, 1, rows + 3)
        return [(counts[i % 5], layouts[i % len(layouts)]) for i in range(10)]

    def row(self, cycle: int) -> dict[str, int | list[int]]:
        """Fields of the port `row` in a cycle; noise where no row is due."""
        noise = random_operands(self.dice, self.config.element, self.config.rows).tolist()
        swap, a = self.rows.get(cycle, (0, noise))
        return {"swap": swap, "a": a}

    def weights_in(self, cycle: int) -> dict[str, int | list]:
        """Fields of the port `weights` in a cycle."""
        return {"row_en": 0, "col_en": 0, **self.loads.get(cycle, {})}

    def _load(self, layout: str, cycle: int) -> int:
        """Schedule one tile; returns the cycles it takes."""
        rows, cols, q = self.config.rows, self.config.cols, group_rows(self.config)
        self.weights = random_operands(self.dice, self.config.element, rows, cols)
        if layout == "transposed":
            for c in range(cols):
                column = self.weights[:, c].tolist()
                self.loads[cycle + c] = {"col_en": 1 << c, "transposed": column}
            return cols
        step = q if layout == "packed" else 1
        for i in range(rows // step):
            group = self.weights[i * step :][:step].tolist() * (q // step)
            enables = ((1 << step) - 1) << i * step
            packed = int(layout == "packed")
            self.loads[cycle + i] = {"row_en": enables, "normal": group, "packed": packed}
        return rows // step

    def _feed(self, m: int, cycle: int) -> None:
        rows = self.config.rows
        a = random_operands(self.dice, self.config.element, m, rows)
        result = tile(self.config, a, self.weights)
        for i in range(m):
            self.rows[cycle + i] = (int(i == 0), a[i].tolist())
            for c in range(self.config.cols):
                at = cycle + i + rows + 1 + c
                self.sums[at, c] = int(result[i, c])
