"""Lowering of layers that are alike: one loop, whose register walks through their memory.

All engines are done before each layer (`sync`), so semaphores need not know of the loop. That costs
what it takes to fill the pipeline again, a few thousand cycles: layers whose weights alone take
`LEAST_CYCLES` become a loop, shorter ones stay behind each other.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from compiler import builder as b
from compiler.builder import Builder
from compiler.graph import Graph, Op, Tensor
from compiler.layers import Layers, find_layers
from compiler.layout import Layout, Placed
from compiler.lower_attention import reserve_cache
from compiler.lower_elementwise import BINARY
from compiler.lowering import Lowering
from compiler.storage import Storage
from compiler.virtual import Buffer, FieldValue, Label
from isa.config import HBM_ATOM_BYTES

LEAST_CYCLES = 1 << 17  # of the memory's port
_BEGIN, _END = "layers", "behind the layers"


def choose_layers(
    graph: Graph, build: Builder, layouts: dict[str, Layout], storage: Storage
) -> Layers | None:
    """The layers that become a loop, if there are any."""
    chooses = any(op.kind == "chosen_linear" for op in graph.ops)  # loops of their own
    if storage.loops == "never" or chooses:
        return None
    layers = find_layers(graph, layouts, storage)
    if layers and storage.loops == "auto":
        ops = graph.ops[layers.start : layers.start + layers.period]
        bits = sum(storage.weights.bits(op) * _size(op) for op in ops)
        if bits < 8 * LEAST_CYCLES * build.config.axi_bytes:
            return None
    return layers


def _size(op: Op) -> int:
    """Weights of a product, or of a part of it."""
    if op.kind != "linear":
        return 0
    x, *_ = op.inputs
    assert isinstance(x, Tensor)
    return x.width * op.output.width


def lower_layers(low: Lowering, layers: Layers, lower_op: Callable[[Op], None]) -> list[int]:
    """Emit the loop; returns where it begins and where it ends: no load moves across."""
    build, hbm = low.builder, low.builder.hbm
    ops = low.graph.ops[layers.start : layers.start + layers.period]
    outside, low.constants = low.constants, {}
    low.activations.clear()
    low.alike, low.copies = layers.alike, layers.count
    for x, made in layers.carried:
        _carry(low, ops, x, made)
    build.scalar("sync")
    begin = hbm.begin_layers()
    numbers = [int(op.attributes["layer"]) for op in ops if op.kind == "attention"]
    caches = [[cache.layer for cache in low.graph.caches].index(number) for number in numbers]
    for index in caches:
        low.caches.buffers[index] = reserve_cache(low.graph.caches[index], build, low.caches)
    build.scalar("add", rd=b.WALK, rs=b.ZERO, x=begin.at(0, HBM_ATOM_BYTES))
    build.label(_BEGIN)
    body = len(build.items)
    for op in ops:
        lower_op(op)
    for x, made in layers.carried:
        if low.place(made).buffer != low.place(x).buffer:
            _copy(low, low.place(made), low.place(x))
            low.tensors[made.name] = low.place(x)
    stride = hbm.end_layers(layers.count)
    build.scalar("sync")
    build.scalar("add", rd=b.WALK, rs=b.WALK, x=stride // HBM_ATOM_BYTES)
    assert begin.address is not None
    end = (begin.address + layers.count * stride) // HBM_ATOM_BYTES
    build.scalar("blt", rs=b.WALK, x=end, y=Label(_BEGIN))
    build.label(_END)
    build.loop, build.layers = (_BEGIN, _END), begin.address
    for index in caches:
        for layer in range(1, layers.count):
            pair = (_moved(buffer, layer * stride) for buffer in low.caches.buffers[index])
            keys, values = pair
            low.caches.buffers[index + layer * len(caches)] = keys, values
    low.constants, low.copies = outside, 1
    low.activations.clear()
    return [body, len(build.items)]


def after_layers(layers: Layers, op: Op) -> Op:
    """An operator behind the loop: what the last layer made is where the first one put it."""
    inputs = (layers.last.get(x.name, x) if isinstance(x, Tensor) else x for x in op.inputs)
    return replace(op, inputs=tuple(inputs))


def _moved(buffer: Buffer, distance: int) -> Buffer:
    assert buffer.address is not None
    return replace(buffer, address=buffer.address + distance)


def _carry(low: Lowering, ops: tuple[Op, ...], x: Tensor, made: Tensor) -> None:
    """Give what goes from layer to layer one room. ``made`` is written there at once, where nobody
    reads ``x`` (or a view of it) any more by then."""
    room = low.place(x)
    if any(op.kind == "view" and op.output == x for op in low.graph.ops):
        own = Placed(low.builder.sram(f"{x.name} of layers", room.buffer.size), room.layout)
        _copy(low, room, own)
        low.tensors[x.name] = room = own
    names, last = {x.name}, -1
    for index, op in enumerate(ops):
        if any(isinstance(i, Tensor) and i.name in names for i in op.inputs):
            last = index
            if op.kind == "view":
                names.add(op.output.name)
    (place,) = (index for index, op in enumerate(ops) if op.output == made)
    op = ops[place]
    whole = [i for i in op.inputs if isinstance(i, Tensor) and i.size == op.output.size]
    in_place = op.kind in BINARY and len(whole) == len(op.inputs)
    in_place |= "plus" in op.attributes
    if op.kind != "view" and (last < place or (last == place and in_place)):
        low.tensors[made.name] = room
    between = frozenset(dead_before(ops, place + in_place))
    low.reads.pinned[room.buffer.name] = made.name, between


def dead_before(ops: tuple[Op, ...], place: int) -> Iterator[str]:
    """Tensors that nothing reads from operator ``place`` of a layer on, under any name."""
    for op in ops[:place]:
        reads = [i for i, reader in enumerate(ops) if op.output in reader.inputs]
        viewed = any(ops[i].kind == "view" for i in reads)
        if op.kind != "view" and not viewed and all(i < place for i in reads):
            yield op.output.name


def _copy(low: Lowering, source: Placed, target: Placed) -> None:
    """All rows of the chunk."""
    fields: dict[str, FieldValue] = {
        "dst": target.buffer.at(),
        "dstride": target.layout.token_bytes,
        "a": source.buffer.at(),
        "astride": source.layout.token_bytes,
        "rows": b.M,
        "cols": source.layout.token_elements,
    }
    reads, writes = (source.buffer.access(),), (target.buffer.access(),)
    low.builder.emit("vmov", reads, writes, fields=fields)
