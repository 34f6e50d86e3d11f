"""Lowering of attention to keys that come in tiles: any context in constant SRAM.

The tile with the newest keys comes first and is attended to as a whole context would be: where the
past is short, nothing more happens. Then a loop takes the tiles before it, down to the first key or
the far end of a window, with softmax's running maxima and sums. Only the first tile can hold keys
that some token of the chunk may not see yet, since chunks end where tiles do (of encoders: as the
first tile is the one at the end of what they see).

Each iteration begins with a `sync`: what semaphores order is one iteration alone. The keys of the
next tile come as soon as the scores of this one are made, the values at the head of the iteration.
"""

from collections.abc import Iterator

from compiler import builder as b
from compiler.graph import Op
from compiler.head_batches import HeadBatch, HeadRows
from compiler.lower_biases import load_biases, load_sinks
from compiler.lower_scores import lower_scores, lower_values, tile_unit
from compiler.lower_softmax import Softmax
from compiler.lowering import Entering, Lowering
from compiler.virtual import Access, Buffer, FieldValue, Item, Label, VirtualOp
from isa.config import HBM_ATOM_BYTES
from isa.iomap import FIRST_PAGE, WORD_BYTES
from isa.program import Reg

_SIGNED = 1 << 30  # added to both sides where unsigned numbers are compared that may be negative


def fetch_place(low: Lowering, cache: Buffer) -> tuple[FieldValue, tuple[VirtualOp, ...]]:
    """Where in HBM the rows of the first tile are, or of the whole context; and what makes the
    register before the load."""
    if not low.caches.tiled:
        return cache.at(0, HBM_ATOM_BYTES), ()
    build = low.builder
    start = len(build.items)
    if low.graph.causal:
        _newest(low, b.FETCH)
    else:
        build.scalar("add", rd=b.FETCH, rs=b.TILE, x=0)
    row_address(low, cache, b.FETCH, b.SCRATCH)
    return b.FETCH, build.take(start)


def set_up_tiles(low: Lowering, op: Op) -> None:
    """Of an encoder: the first tile ends where the sight of the chunk's last token does."""
    build, keys, unit = low.builder, low.caches.keys, tile_unit(low.config)
    build.scalar("add", rd=b.CONTEXT, rs=b.DONE, x=b.M)
    ahead = int(op.attributes["ahead"])
    if ahead >= 0:
        build.scalar("add", rd=b.CONTEXT, rs=b.CONTEXT, x=ahead)
        build.scalar("min", rd=b.CONTEXT, rs=b.CONTEXT, x=b.NEW_TOKENS)
    else:
        build.scalar("add", rd=b.CONTEXT, rs=b.NEW_TOKENS, x=0)
    build.scalar("max", rd=b.TILE, rs=b.CONTEXT, x=keys)
    build.scalar("sub", rd=b.TILE, rs=b.TILE, x=keys - (unit - 1))
    build.scalar("and", rd=b.TILE, rs=b.TILE, x=_multiples(unit))
    build.scalar("sub", rd=b.CONTEXT, rs=b.CONTEXT, x=b.TILE)
    build.scalar("add", rd=b.LIMIT, rs=b.DONE, x=1)
    build.scalar("sub", rd=b.LIMIT, rs=b.LIMIT, x=b.TILE)
    size = low.caches.row_bytes if low.caches.in_one_row else 1
    build.scalar("mul", rd=b.PAST_LOAD, rs=b.CONTEXT, x=size)


def attend_to_tiles(
    low: Lowering,
    op: Op,
    batches: list[tuple[HeadBatch, Entering]],
    rows: tuple[Buffer, Buffer],
    caches: tuple[Buffer, Buffer],
) -> None:
    """Softmax(scores) V for every head, of ``batches`` with their queries; ``rows`` in SRAM hold
    the first tile of keys and values."""
    build, (keys, values) = low.builder, rows
    codes = str(op.attributes.get("codes", ""))
    sinks = load_sinks(low, op)
    softmaxes = [Softmax(low, batch, codes, sinks) for batch, _ in batches]
    if low.graph.causal:
        _newest(low, b.TILE)

    def scores_of_all(newest: bool) -> Iterator[tuple[HeadBatch, Softmax, HeadRows]]:
        """Batch after batch, each when the scores of the next one have been asked for."""
        biases, before = load_biases(low, op), list[tuple[HeadBatch, Softmax, HeadRows]]()
        if not newest:
            _load(low, caches[1], values, b.TILE, b.CONTEXT)
        for (batch, queries), softmax in zip(batches, softmaxes, strict=True):
            scores = lower_scores(low, op, batch, (queries, keys), biases, newest)
            yield from before
            before = [(batch, softmax, scores)]
        _load_next_keys(low, caches[0], keys)
        yield from before

    for batch, softmax, scores in scores_of_all(newest=True):
        softmax.of_first(scores)
        lower_values(low, op, batch, (softmax.weights, values))
    begin, end = f"tile of {op.output.name}", f"no tile of {op.output.name}"
    start = len(build.items)
    _next_or(low, op, begin, end)
    for batch, softmax, scores in scores_of_all(newest=False):
        softmax.of_next(scores, op)
        lower_values(low, op, batch, (softmax.weights, values), add=True)
    build.scalar("beq", rs=b.ZERO, x=0, y=Label(begin))
    build.label(end)
    build.emit("sync", tuple(_lasting(build.items[start:])))
    for softmax in softmaxes:
        softmax.divide(op)
    if low.graph.causal:
        _back_to_newest(low, op)


def _lasting(items: list[Item]) -> Iterator[Access]:
    """What must stay where it is until the last iteration is over: what one reads before it has
    written it."""
    written: set[str] = set()
    for item in items:
        if isinstance(item, VirtualOp):
            for access in item.reads:
                if access.buffer.space == "sram" and access.buffer.name not in written:
                    yield access
            written |= {access.buffer.name for access in item.writes}


def _next_or(low: Lowering, op: Op, begin: str, end: str) -> None:
    """The head of the loop: registers of the tile before, or leave it where none is seen."""
    build, behind = low.builder, int(op.attributes["behind"])
    build.label(begin)
    build.scalar("beq", rs=b.TILE, x=0, y=Label(end))
    if behind >= 0:  # the first token's sight: LIMIT - 1 - behind, in the tile
        build.scalar("add", rd=b.SCRATCH, rs=b.LIMIT, x=_SIGNED)
        build.scalar("add", rd=b.SCRATCH2, rs=b.ZERO, x=_SIGNED + behind)
        build.scalar("blt", rs=b.SCRATCH2, x=b.SCRATCH, y=Label(end))
    build.scalar("sync")
    build.scalar("min", rd=b.CONTEXT, rs=b.TILE, x=low.caches.keys)
    build.scalar("sub", rd=b.TILE, rs=b.TILE, x=b.CONTEXT)
    if behind >= 0:
        build.scalar("add", rd=b.LIMIT, rs=b.LIMIT, x=b.CONTEXT)


def _back_to_newest(low: Lowering, op: Op) -> None:
    """CONTEXT and LIMIT as the chunk's head made them."""
    build = low.builder
    if int(op.attributes["behind"]) >= 0:
        build.scalar("sub", rd=b.LIMIT, rs=b.LIMIT, x=1)
        build.scalar("and", rd=b.LIMIT, rs=b.LIMIT, x=low.caches.keys - 1)
        build.scalar("add", rd=b.LIMIT, rs=b.LIMIT, x=1)
    build.scalar("sub", rd=b.CONTEXT, rs=b.LIMIT, x=1)
    build.scalar("add", rd=b.CONTEXT, rs=b.CONTEXT, x=b.M)


def _newest(low: Lowering, register: Reg) -> None:
    """The first key of the tile that the chunk's tokens are in, of a decoder."""
    build = low.builder
    build.scalar("add", rd=register, rs=b.PAST, x=b.DONE)
    build.scalar("and", rd=register, rs=register, x=_multiples(low.caches.keys))


def _multiples(unit: int) -> int:
    """The mask that rounds down to multiples of a power of two."""
    return (1 << 32) - unit


def row_address(low: Lowering, cache: Buffer, register: Reg, other: Reg) -> None:
    """A row's number becomes its place in HBM: the row of that token, or of its place in the page
    that the slot's record names. Changes ``other``, too."""
    build, keys = low.builder, low.caches.keys
    if low.caches.slots:
        records, shift = low.caches.slots.records, keys.bit_length() - 1
        build.scalar("shr", rd=other, rs=register, x=shift)
        build.scalar("mul", rd=other, rs=other, x=WORD_BYTES)
        build.scalar("add", rd=other, rs=other, x=b.SLOT)
        build.scalar("add", rd=other, rs=other, x=FIRST_PAGE)
        build.scalar("ld", rd=other, x=records.at(0, HBM_ATOM_BYTES), y=other)
        build.scalar("shl", rd=other, rs=other, x=shift)
        build.scalar("and", rd=register, rs=register, x=keys - 1)
        build.scalar("add", rd=register, rs=register, x=other)
    build.scalar("mul", rd=register, rs=register, x=low.caches.row_bytes // HBM_ATOM_BYTES)
    build.scalar("add", rd=register, rs=register, x=cache.at(0, HBM_ATOM_BYTES))


def _load_next_keys(low: Lowering, cache: Buffer, rows: Buffer) -> None:
    """Those of the tile before; a row that nobody reads where there is none."""
    build = low.builder
    build.scalar("min", rd=b.SCRATCH2, rs=b.TILE, x=low.caches.keys)
    build.scalar("sub", rd=b.SCRATCH, rs=b.TILE, x=b.SCRATCH2)
    build.scalar("max", rd=b.SCRATCH2, rs=b.SCRATCH2, x=1)
    _load(low, cache, rows, b.SCRATCH, b.SCRATCH2)


def _load(low: Lowering, cache: Buffer, rows: Buffer, first: Reg, count: Reg) -> None:
    """``count`` rows of the cache from row ``first`` on; changes both scratch registers."""
    build, row_bytes = low.builder, low.caches.row_bytes
    build.scalar("add", rd=b.SCRATCH, rs=first, x=0)
    row_address(low, cache, b.SCRATCH, b.FETCH)
    fields: dict[str, FieldValue] = {"hbm": b.SCRATCH, "sram": rows.at()}
    if low.caches.in_one_row:
        build.scalar("mul", rd=b.SCRATCH2, rs=count, x=row_bytes)
        fields |= {"rows": 1, "bytes": b.SCRATCH2}
    else:
        fields |= {"rows": count, "bytes": row_bytes, "sstride": row_bytes}
        fields |= {"hstride": row_bytes // HBM_ATOM_BYTES}
    build.emit("load", (cache.access(),), (rows.access(),), fields=fields)
