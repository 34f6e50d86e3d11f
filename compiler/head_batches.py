"""How attention takes its heads: which share a product, which a softmax.

Query heads that use the same keys are rows of one product, so that these keys enter the array once.
Heads go through softmax in batches: the array makes the scores of the next batch meanwhile.
Within a batch, rows lie head by head: (heads, m), m at run time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.virtual import Buffer
from isa.config import BF16_BYTES, F32_BYTES, ChipConfig

_BATCHES = 2  # at least, where heads do not all share their keys
_SRAM_PART = 8  # of the SRAM that the scores and weights of a batch may take, unless one is more


@dataclass(frozen=True)
class HeadRows:
    """(heads, m) rows in SRAM, ``stride`` bytes apart."""

    buffer: Buffer
    stride: int


@dataclass(frozen=True)
class HeadBatch:
    """Heads from ``first`` on, ``count`` of them; ``shared`` behind each other are one product."""

    first: int
    count: int
    shared: int

    def products(self) -> Iterator[range]:
        """The batch's heads, counted from its first one, product by product."""
        for start in range(0, self.count, self.shared):
            yield range(start, start + self.shared)


def head_batches(
    heads: tuple[int, int], width: int, rows: tuple[int, int], config: ChipConfig, alone: bool
) -> list[HeadBatch]:
    """``heads``: of queries, of keys; ``width``: elements of a head; ``rows``: tokens of a pass,
    keys in SRAM. ``alone``: every head has a product of its own, as in programs with slots, whose
    registers are in use, and with queries in codes, which lie token by token. A single head's
    product may be more than the accumulators hold, see `fits`."""
    count, group = heads[0], heads[0] // heads[1]
    sizes = [size for size in range(1, group + 1) if group % size == 0]
    shared = max(size for size in sizes if size == 1 or fits(size, width, rows, config))
    if alone:
        shared = 1
    products = count // shared
    most = config.sram_bytes // _SRAM_PART
    limit = max(1, most // (shared * rows[0] * rows[1] * (F32_BYTES + BF16_BYTES)))
    limit = min(limit, max(1, products // _BATCHES))
    size = shared * max(n for n in range(1, limit + 1) if products % n == 0)
    return [HeadBatch(first, size, shared) for first in range(0, count, size)]


def fits(shared: int, width: int, rows: tuple[int, int], config: ChipConfig) -> bool:
    """Whether scores, and outputs, of so many heads fit half the accumulators."""
    panels = -(-max(width, rows[1]) // config.cols)
    return panels * shared * rows[0] <= config.acc_rows // 2
