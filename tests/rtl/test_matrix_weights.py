"""WeightLoader by itself: what it makes of tiles that hold several blocks of scales."""

from itertools import groupby

import numpy as np
import pytest
from numpy.typing import NDArray

from isa import formats
from isa.config import ChipConfig
from rtl.array import group_rows
from rtl.expand import operand_bits
from rtl.matrix_weights import WeightLoader
from tb.matrix_stimulus import Product
from tests.support import rng, simulate


def _config(element: str, rows: int, line_bytes: int) -> ChipConfig:
    return ChipConfig("test", rows, 4, 4, line_bytes, 1 << 16, 4, 64, 16, element)


def _tiles(product: Product) -> NDArray[np.uint16]:
    """Operands of all tiles in the order in which they are loaded: (tiles, R, C)."""
    (_, k, n), rows, cols = product.shape, product.config.rows, product.config.cols
    weights = formats.expand(product.wf, product.w, product.scales)
    weights = np.pad(weights, ((0, -k % rows), (0, -n % cols)))
    tiles = weights.reshape(-1, rows, product.panels, cols).transpose(2, 0, 1, 3)
    return tiles.reshape(-1, rows, cols) >> (16 - operand_bits(product.config.element))


def _loaded(product: Product) -> tuple[list[NDArray[np.uint16]], int]:
    """The tiles as they stand in the shadow registers when they are taken; lines that were read."""
    config = product.config
    dut, memory = WeightLoader(config), rng(3).integers(0, 256, config.sram_bytes, np.uint8)
    fields, tiles = product.fields(memory), []
    shadow = np.zeros((config.rows, config.cols), np.uint16)
    lines = 0

    def take(weights) -> None:
        for r in range(config.rows):
            if weights.row_en >> r & 1:
                group = weights.normal[r % group_rows(config)]
                shadow[r] = [group[c] for c in range(config.cols)]
        for c in range(config.cols):
            if weights.col_en >> c & 1:
                shadow[:, c] = [weights.transposed[r] for r in range(config.rows)]

    async def bench(ctx) -> None:
        nonlocal lines
        ctx.set(dut.command, fields)
        ctx.set(dut.start, 1)
        ctx.set(dut.port.ready, 1)
        busy, wanted = 0, -(-product.shape[1] // config.rows) * product.panels
        while len(tiles) < wanted:
            done = bool(ctx.get(dut.tile_ready)) and busy > 2
            ctx.set(dut.tile_taken, done)
            if done:
                tiles.append(shadow.copy())
            _, _, valid, addr = await ctx.tick().sample(dut.port.valid, dut.port.addr)
            ctx.set(dut.start, 0)
            line = memory[addr * config.line_bytes :][: config.line_bytes]
            ctx.set(dut.port.data, int.from_bytes(line.tobytes(), "little") if valid else 1)
            lines += valid
            weights = ctx.get(dut.weights)
            loading = weights.row_en or weights.col_en
            busy = 0 if loading or done else busy + 1
            take(weights)

    simulate(dut, bench)
    return tiles, lines


@pytest.mark.parametrize(
    ("element", "rows", "line_bytes", "wf"),
    [
        ("bf16", 16, 64, "nvfp4"),  # a tile is a block
        ("bf16", 32, 64, "nvfp4"),
        ("bf16", 64, 256, "nvfp4"),  # groups that are longer than a block
        ("bf16", 64, 128, "i4"),
        ("fp8", 64, 128, "mxfp4"),
        ("fp8", 32, 32, "mxfp8_e5m2"),
    ],
)
@pytest.mark.parametrize("layout", ["normal", "transposed"])
@pytest.mark.parametrize("packed", [True, False])
def test_tiles_of_blocks(
    element: str, rows: int, line_bytes: int, wf: str, layout: str, packed: bool
) -> None:
    config = _config(element, rows, line_bytes)
    af = "bf16" if element == "bf16" else "e4m3"
    product = Product(config, (1, rows + 19, 6), layout, packed, seed=5, af=af, wf=wf)
    want = _tiles(product)
    tiles, _ = _loaded(product)
    assert np.array_equal(tiles, want)


@pytest.mark.parametrize("k", [1, 32, 33, 96, 97, 129])
@pytest.mark.parametrize(("rows", "line"), [(8, 16), (64, 64)])
def test_a_line_is_read_once_in_turn(rows: int, line: int, k: int) -> None:
    """Scales are read once, before a block's first tile, and none behind K; steps in the same line
    share it. Of tiles shorter than a block and of ones that hold two."""
    cols, block, tiles = 4, 32, -(-k // rows)
    product = Product(
        _config("fp8", rows, line), (1, k, cols), "transposed", af="e4m3", wf="mxfp8", seed=6
    )
    wanted: list[tuple[str, int]] = []
    for tile in range(tiles):
        first, behind = tile * rows, min(k, (tile + 1) * rows)
        if first % block == 0:
            wanted += [("scales", cols * (r // block) // line) for r in range(first, behind, block)]
        wanted += [("weights", (c * tiles + tile) * rows // line) for c in range(cols)]
    _, lines = _loaded(product)
    assert lines == len(list(groupby(wanted)))
