"""Weights in a storage format: quantised, and packed as the array reads them.

| --weights | ISA | element, scale |
|---|---|---|
| bf16 | bf16 | |
| fp8 | e4m3 | E4M3, fp32 for each column |
| int8 | i8 | symmetric, fp32 for each column |
| int4 | i4 | symmetric, bf16 for 32 along K |
| mxfp8 | mxfp8 | E4M3, E8M0 for 32 along K |
| mxfp4 | mxfp4 | E2M1, E8M0 for 32 along K |
| nvfp4 | nvfp4 | E2M1, E4M3 for 16 along K, fp32 for each column |

Scales of blocks are expanded at the array's edge, those of columns are factors of its results.
Blocks are of the rows that the array sees: where heads are no whole vectors, gaps are among them.
``auto`` takes the narrowest format in which every weight is what it is, but for two roundings to
bf16 (its own and its scale's): models that arrive in 4 bits stay so, others become bf16.

Products of quantised models whose weights are whole numbers of 8 bits have them as `WHOLE`, int8
without scales, unless another format is asked for.

Elements are rounded to nearest even; where a scale can be chosen, of a few candidates the one with
the least squared error is taken, block by block.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.builder import round_up
from compiler.storage import KINDS, WHOLE
from isa import formats, numbers
from isa.config import ChipConfig
from isa.formats import FORMATS

_NARROWEST = ("mxfp4", "int4", "nvfp4", "mxfp8", "fp8", "int8")  # in the order of their bytes
_SAMPLE = 16  # columns that are tried first
LARGEST = {"e4m3": 448.0, "i8": 127.0, "nvfp4": 448.0 * 6.0}  # of what a column's scale divides
_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
_LEAST_E8M0 = -126  # whose products with the least element that counts are no subnormals
BF16_ROUNDING = 2.0**-8  # at most, of a value
F32 = NDArray[np.float32]
Codes = NDArray[Any]


@dataclass(frozen=True)
class Weights:
    """``codes`` (K, N) in the format ``name`` of the ISA, ``scales`` (ceil(K / block), N) of
    blocks, ``columns`` (N,) fp32: factors of the product's columns; None without."""

    name: str
    codes: Codes
    scales: Codes | None = None
    columns: F32 | None = None

    def values(self) -> F32:
        """What they stand for: (K, N)."""
        bf16 = formats.expand(self.name, self.codes, self.scales)
        value = numbers.from_bf16(bf16)
        return value if self.columns is None else value * self.columns

    def rows(self, start: int, end: int) -> "Weights":
        """Rows of K; ``start`` begins a block."""
        block = FORMATS[self.name].block or 1
        scales = self.scales
        if scales is not None:
            scales = scales[start // block : -(-end // block)]
        return Weights(self.name, self.codes[start:end], scales, self.columns)


def quantise(weights: F32, choice: str) -> Weights:
    """(K, N) fp32 in one of `KINDS`."""
    name = KINDS[choice]
    if name == "bf16":
        return Weights(name, numbers.to_bf16(weights))
    columns, x = None, weights
    if has_column_scales(choice):
        most = np.abs(weights).max(axis=0, initial=0.0) / np.float32(LARGEST[name])
        columns = np.where(most > 0, most, np.float32(1)).astype(np.float32)
        x = weights / columns
    if not FORMATS[name].block:
        return Weights(name, formats.quantise(name, x), None, columns)
    block = FORMATS[name].block
    whole = np.pad(x, ((0, -len(x) % block), (0, 0))).reshape(-1, block, x.shape[1])
    codes, scales = _blocks(name, whole)
    return Weights(name, codes.reshape(-1, x.shape[1])[: len(x)], scales, columns)


def narrowest(weights: F32) -> str:
    """The format of the fewest bytes that keeps every weight within two roundings to bf16."""

    def fits(part: F32, choice: str) -> bool:
        error = np.abs(quantise(part, choice).values() - part)
        return bool((error <= 2 * BF16_ROUNDING * np.abs(part)).all())

    for choice in _NARROWEST:
        if fits(weights[:, :_SAMPLE], choice) and fits(weights, choice):
            return choice
    return "bf16"


def _blocks(name: str, x: F32) -> tuple[Codes, Codes]:
    """Codes (blocks, block, N) and scales (blocks, N) of the candidate nearest to x, block by
    block."""
    least = np.full((len(x), x.shape[2]), np.inf)
    codes = np.zeros(x.shape, np.uint8)
    scales = np.zeros(least.shape, np.uint16 if name == "i4" else np.uint8)
    for candidate in _candidates(name, x):
        factor = formats.decode(FORMATS[name].scale, candidate)[:, None]
        divisor = np.where(factor == 0, 1, factor)
        tried = _nearest(name, (x / divisor).astype(np.float32))
        error = np.square(formats.decode(name, tried) * factor - x).sum(axis=1)
        better = error < least
        least = np.where(better, error, least)
        scales = np.where(better, candidate, scales)
        codes = np.where(better[:, None], tried, codes)
    return codes, scales


def _candidates(name: str, x: F32) -> Iterable[Codes]:
    """Codes of scales that may suit blocks of x."""
    most = np.abs(x).max(axis=1)
    if name == "i4":
        # The number farthest from 0 becomes -8, or the range is symmetric.
        low, high = x.min(axis=1), x.max(axis=1)
        farthest = np.where(-low > high, low, high)
        return [numbers.to_bf16((v).astype(np.float32)) for v in (farthest / -8, most / 7)]
    if name == "nvfp4":
        return [formats.quantise("e4m3", (most / np.float32(v))) for v in (6, 4)]
    element = formats.decode(name, np.arange(256 if name == "mxfp8" else 16, dtype=np.uint8))
    top = int(np.floor(np.log2(np.nanmax(element))))  # OCP: the largest power of two of an element
    power = np.frexp(most)[1].astype(np.int64) - 1 - top
    return [np.clip(power + up, _LEAST_E8M0, 127).astype(np.uint8) + 127 for up in (0, 1)]


def _nearest(name: str, x: F32) -> Codes:
    """Element codes, ties to even, beyond the largest one that."""
    if name == "i4":
        return np.clip(np.rint(x), -8, 7).astype(np.int8).view(np.uint8) & np.uint8(15)
    if name == "mxfp8":
        return formats.quantise("e4m3", x)
    between = (_E2M1[:-1] + _E2M1[1:]) / 2
    magnitude = np.abs(x)
    code = np.searchsorted(between, magnitude).astype(np.uint8)  # of a tie the lower one
    tie = np.isin(magnitude, between) & (code % 2 == 1)
    return (code + tie | np.where(np.signbit(x), 8, 0)).astype(np.uint8)


def has_column_scales(choice: str) -> bool:
    """Whether one of `KINDS` leaves factors to the products' columns."""
    return choice != WHOLE and KINDS[choice] in LARGEST


@dataclass(frozen=True)
class Packed:
    """Weights as one `matmul` reads them: ``stride`` and ``panel`` are its `wstride` and `wpanel`,
    ``size`` all their bytes, up to whole units of memory."""

    stride: int
    panel: int
    size: int


def geometry(name: str, shape: tuple[int, int], config: ChipConfig) -> Packed:
    """Of weights (K, N) in the format ``name``: panels of C columns behind each other, each of
    scales, up to a whole line, then rows, so many that lines are full."""
    entry, (k, n) = FORMATS[name], shape
    stride = entry.bytes_of(config.cols)
    panel = round_up(k, config.weight_rows_per_cycle) * stride
    if entry.block:
        scales = -(-k // entry.block) * config.cols * entry.scale_bytes
        panel = sum(round_up(part, config.line_bytes) for part in (scales, panel))
    size = -(-n // config.cols) * panel
    return Packed(stride, panel, round_up(size, config.hbm_alignment_bytes))


def pack(weights: Weights, config: ChipConfig) -> NDArray[np.uint8]:
    """The bytes that `geometry` describes."""
    (k, n), cols = weights.codes.shape, config.cols
    packed = geometry(weights.name, (k, n), config)
    panels = -(-n // cols)
    full = np.zeros((round_up(k, config.weight_rows_per_cycle), panels * cols), weights.codes.dtype)
    full[:k, :n] = weights.codes
    rows = formats.pack(weights.name, full.reshape(len(full), panels, cols).transpose(1, 0, 2))
    parts = [rows.reshape(panels, -1)]
    if weights.scales is not None:
        scales = np.pad(weights.scales, ((0, 0), (0, panels * cols - n)))
        scales = scales.reshape(len(scales), panels, cols).transpose(1, 0, 2)
        header = np.ascontiguousarray(scales).view(np.uint8).reshape(panels, -1)
        parts = [_lines(header, config), _lines(parts[0], config)]
    data = np.concatenate(parts, axis=1)
    assert data.shape == (panels, packed.panel)
    return np.pad(data.reshape(-1), (0, packed.size - data.size))


def _lines(rows: NDArray[np.uint8], config: ChipConfig) -> NDArray[np.uint8]:
    """Filled up to whole lines of SRAM."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % config.line_bytes)))
