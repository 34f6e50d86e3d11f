"""Lowering of what outlives a chunk: the graph's outputs, and tensors that later passes need."""

from collections.abc import Iterable, Mapping

from compiler import builder as b
from compiler.allocate import DoesNotFit
from compiler.builder import Builder, round_up
from compiler.graph import Graph, Op, Tensor
from compiler.layout import Layout, Placed
from compiler.lowering import Kept, Lowering, Stored, Vectors
from compiler.virtual import LONGEST_ROW, Access, Buffer, FieldValue
from isa.config import F32_BYTES, HBM_ATOM_BYTES


def reserve_outputs(
    graph: Graph, build: Builder, layouts: Mapping[str, Layout]
) -> dict[str, Stored]:
    """HBM room for the outputs of every token that one launch may bring, by tensor."""
    found: dict[str, Stored] = {}
    for output in graph.outputs:
        if output.tensor.name in found:
            continue
        layout = layouts[output.tensor.name]
        row_bytes = round_up(layout.token_bytes, build.config.hbm_alignment_bytes)
        buffer = build.hbm.reserve(output.name, graph.max_context * row_bytes)
        found[output.tensor.name] = Stored(buffer, row_bytes, layout)
    return found


def store_output(low: Lowering, op: Op) -> None:
    """A tensor in SRAM → HBM row of each token."""
    placed = low.place(op.output)
    fields: dict[str, FieldValue] = {
        "a": placed.buffer.at(),
        "astride": placed.layout.token_bytes,
        "rows": b.M,
        "cols": placed.layout.token_elements,
    }
    store_rows(low, op.output, ("vmov", (placed.buffer.access(),), fields), 0)


def store_rows(
    low: Lowering,
    tensor: Tensor,
    source: tuple[str, tuple[Access, ...], dict[str, FieldValue]],
    n0: int,
    scales: Vectors | None = None,
) -> None:
    """Columns from ``n0`` on of an output, as an instruction (its mnemonic, what it reads, its
    fields) yields them, times ``scales``, one for each token → HBM row of each token."""
    build, stored = low.builder, low.outputs[tensor.name]
    mnemonic, reads, fields = source
    cols = fields["cols"]
    assert isinstance(cols, int)
    row_bytes = round_up(F32_BYTES * cols, low.config.hbm_alignment_bytes)
    block = build.sram("output rows", build.chunk * row_bytes)
    fields = fields | {"dst": block.at(), "dstride": row_bytes}
    build.emit(mnemonic, reads, (block.access(),), fields=fields)
    if scales:
        rows = Vectors(block, 0, row_bytes)
        low.by_rows("vmul", rows, rows, cols, scales)
    atoms = stored.row_bytes // HBM_ATOM_BYTES
    place = stored.buffer.at(F32_BYTES * n0, HBM_ATOM_BYTES)
    build.scalar("mul", rd=b.SCRATCH, rs=b.DONE, x=atoms)
    build.scalar("add", rd=b.SCRATCH, rs=b.SCRATCH, x=place)
    fields = {
        "hbm": b.SCRATCH,
        "hstride": atoms,
        "sram": block.at(),
        "sstride": row_bytes,
        "rows": b.M,
        "bytes": row_bytes,
    }
    build.emit("store", (block.access(),), (stored.buffer.access(),), fields=fields)


def keep(low: Lowering, tensors: Iterable[Tensor]) -> None:
    """Store what later passes need of this chunk; views of one tensor once."""
    build, kept = low.builder, dict[str, Kept]()
    for tensor in tensors:
        placed = low.place(tensor)
        name = placed.buffer.name
        if name not in kept:
            pitch = round_up(placed.buffer.size, low.config.hbm_alignment_bytes)
            chunks = -(-low.graph.max_context // build.chunk)
            buffer = build.hbm.reserve(f"kept {tensor.name}", chunks * pitch)
            kept[name] = Kept(buffer, pitch, placed.layout)
            _transfer(low, "store", placed.buffer, kept[name])
        low.kept[tensor.name] = kept[name]


def bring(low: Lowering, tensors: Iterable[Tensor]) -> None:
    """At the head of a chunk: load what earlier passes kept of it. All that was in SRAM is gone."""
    low.tensors.clear()
    low.activations.clear()
    brought: dict[str, Placed] = {}
    for tensor in tensors:
        kept = low.kept[tensor.name]
        if kept.buffer.name not in brought:
            room = low.builder.chunk * kept.layout.token_bytes
            placed = Placed(low.builder.sram(tensor.name, room), kept.layout)
            _transfer(low, "load", placed.buffer, kept)
            brought[kept.buffer.name] = placed
        low.tensors[tensor.name] = brought[kept.buffer.name]


def _transfer(low: Lowering, mnemonic: str, rows: Buffer, kept: Kept) -> None:
    """This chunk of a kept tensor, whole, however many tokens it has."""
    build = low.builder
    if rows.size > LONGEST_ROW:
        raise DoesNotFit
    build.scalar("shr", rd=b.SCRATCH, rs=b.DONE, x=build.chunk.bit_length() - 1)
    fields: dict[str, FieldValue] = {
        "hbm": build.row_place(b.SCRATCH, kept.pitch_bytes, kept.buffer),
        "sram": rows.at(),
        "rows": 1,
        "bytes": rows.size,
    }
    sram, hbm = rows.access(), kept.buffer.access()
    reads, writes = (sram, hbm) if mnemonic == "store" else (hbm, sram)
    build.emit(mnemonic, (reads,), (writes,), fields=fields)
