"""An int8 KV cache: scales found by running the model, and the graph that keeps whole numbers.

The program with a cache in bf16 reads typical tokens on the functional simulator. The largest
magnitude of each head's keys, and of its values, becomes 127. Keys and values are divided by that
scale in front of attention, and rounded as they are written to the cache; queries and attention's
output are multiplied by it. All these are constants of one row, so layers remain alike.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compiler.errors import CompileError
from compiler.graph import Cache, Constant, Graph, Grid, Op, Scalar, Tensor
from compiler.quantiser import SCALES
from compiler.storage import Activations, Storage
from isa.image import ProgramImage
from isa.iomap import LARGEST_CODE

if TYPE_CHECKING:
    from sim.runtime import Session

F32 = NDArray[np.float32]
Scales = tuple[F32, F32]  # of a layer's keys and values: (heads,)
ASKED = "--kv int8"


def read_ids(path: Path) -> tuple[int, ...]:
    """Token ids: an .npy of integers, (n,) or (1, n), or a text of numbers between blanks.

    ValueError says what is wrong with the file.
    """
    wanted = "want token ids: integers of 0 or more, as text or as an .npy of shape (n,) or (1, n)"
    try:
        binary = path.suffix == ".npy"
        ids = np.load(path) if binary else np.array([int(x) for x in path.read_text().split()])
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError):
        raise ValueError(f"{path}: {wanted}") from None
    shapes = (ids.size,), (1, ids.size)
    if ids.dtype.kind not in "iu" or not ids.size or ids.shape not in shapes or ids.min() < 0:
        raise ValueError(f"{path}: {wanted}")
    return tuple(ids.reshape(-1).tolist())


def with_int8_cache(
    graph: Graph,
    storage: Storage,
    compile_with: Callable[..., ProgramImage],
    progress: Callable[[str], None] = lambda step: None,
) -> Graph:
    """The graph whose caches hold whole numbers of 8 bits. ``compile_with``: the program of a graph
    with another ``storage``.

    Where the model itself rounds keys and values to numbers that 8 bits hold, it is the graph as it
    is. Without weights, scales are 1: they change no time. CompileError names what does not work.
    """
    if _is_whole(graph, storage):
        return graph
    if not storage.stored:
        ones = [np.ones(cache.heads, np.float32) for cache in graph.caches]
        return _scaled(graph, [(one, one) for one in ones])
    if not storage.calibration:
        problem = "the scales of the cache are found by running the model"
        remedy = "give it typical token ids with --calibrate FILE"
        raise CompileError(f"{graph.source}: {ASKED}", problem, remedy)
    image = compile_with(graph, storage=plain_storage(storage))
    try:
        tops = _largest(image, storage.calibration, progress)
    except ValueError as error:
        raise CompileError(f"{graph.source}: --calibrate", str(error)) from None
    for cache, parts in zip(graph.caches, tops, strict=True):
        for name, top in zip(("keys", "values"), parts, strict=True):
            if not np.isfinite(top).all():
                problem = f"{name} of layer {cache.layer} are not finite"
                raise CompileError(f"{graph.source}: --calibrate", problem)
    return _scaled(graph, [(_scale(keys), _scale(values)) for keys, values in tops])


def _is_whole(graph: Graph, storage: Storage) -> bool:
    """Whether all caches hold whole numbers of 8 bits anyway; refuses what is in between."""
    grids = [(c, part) for c in graph.caches for part in (c.key_grids, c.value_grids)]
    if all(part and _holds(part[-1]) for _, part in grids):
        if storage.calibration:
            problem = "the model itself rounds keys and values: there is nothing to calibrate"
            raise CompileError(f"{graph.source}: --calibrate", problem)
        return True
    for op in graph.ops:
        if op.kind == "attention":
            cache = graph.caches[op.attributes["layer"]]
            inside = {"score_grids", "weight_grid"} & op.attributes.keys()
            if inside or cache.key_grids or cache.value_grids:
                problem = "the model quantises its attention, but not keys and values to -128 … 127"
                where = f"{graph.source}: {op.sources[-1]}: {ASKED}"
                raise CompileError(where, problem, "--kv bf16 keeps its numbers")
    return False


def _holds(grid: Grid) -> bool:
    return grid.low >= -LARGEST_CODE - 1 and grid.high <= LARGEST_CODE


def _scale(top: F32) -> F32:
    """(heads,) largest magnitudes → the numbers that one step is; of a head of zeros any."""
    scale = (top.astype(np.float64) / LARGEST_CODE).astype(np.float32)
    return np.where(top > 0, np.clip(scale, *SCALES), 1).astype(np.float32)


def plain_storage(storage: Storage) -> Storage:
    """That of a program that reads typical tokens: one sequence, everything but weights in bf16."""
    inside = Activations()
    return replace(storage, kv="bf16", slots=0, pages=0, calibration=(), activations=inside)


def read_typical(
    image: ProgramImage, ids: Sequence[int], progress: Callable[[str], None]
) -> "Iterator[tuple[Session, int]]":
    """A session of the program behind each launch, and how many tokens that brought; each window of
    a context's length stands alone. ValueError says what does not fit."""
    from sim.backends import make_backend
    from sim.runtime import Session

    session, io = Session(image, make_backend("functional")), image.io
    window = io.exact_new or io.max_context
    if len(ids) < io.exact_new:
        raise ValueError(f"the model takes {io.exact_new} tokens at once, there are {len(ids)}")
    last = len(ids) - len(ids) % io.exact_new if io.exact_new else len(ids)
    for start in range(0, last, window):
        progress(f"calibrate, {start} of {last} tokens")
        part = np.array(ids[start : min(start + window, last)])
        session.reset()
        for at in range(0, len(part), io.largest_launch):
            session.step(new := part[at : at + io.largest_launch])
            yield session, len(new)


def _largest(
    image: ProgramImage, ids: Sequence[int], progress: Callable[[str], None]
) -> list[Scales]:
    """Of each layer, the largest magnitudes of each head's keys and values, over all tokens."""
    tops = list[F32]()
    for session, count in read_typical(image, ids, progress):
        caches = session.host.caches(session.past or count)
        found = [np.abs(rows[-count:]).max(axis=(0, 2)) for rows in caches]
        tops = [np.maximum(a, b) for a, b in zip(tops or found, found, strict=True)]
    return list(zip(tops[::2], tops[1::2], strict=True))


def _scaled(graph: Graph, scales: Sequence[Scales]) -> Graph:
    """The graph with keys and values over their scales, and what makes up for that."""
    constants, ops = dict(graph.constants), list[Op]()

    def by_heads(name: str, x: Tensor, factors: F32) -> Constant:
        heads = np.repeat(factors, x.groups // len(factors))[:, None]
        constants[name] = np.broadcast_to(heads, (x.groups, x.width)).copy()
        return Constant(name)

    def around(op: Op) -> Iterator[Op]:
        name, inputs, made = op.output.name, list(op.inputs), dict(op.attributes)
        keys, values = scales[made["layer"]]
        one = np.float32(1)
        factors = ("query", keys), ("key", one / keys), ("value", one / values)
        for place, (part, factor) in enumerate(factors):
            x = inputs[place]
            assert isinstance(x, Tensor)
            by = by_heads(f"{name}.{part}_factor", x, factor)
            inputs[place] = to = replace(x, name=f"{name}.{part}_scaled")
            yield Op("mul", (x, by), to, op.sources)
            if part != "query":  # the other end is where the format saturates
                inputs[place] = kept = replace(x, name=f"{name}.{part}_limited")
                yield Op("max", (to, Scalar(-LARGEST_CODE)), kept, op.sources)
        inner = replace(op.output, name=f"{name}.in_steps")
        yield replace(op, inputs=tuple(inputs), output=inner)
        by = by_heads(f"{name}.output_factor", inner, values)
        yield Op("mul", (inner, by), op.output, op.sources)

    for op in graph.ops:
        ops += around(op) if op.kind == "attention" else (op,)
    caches = tuple(map(_cache, graph.caches, scales))
    return replace(graph, ops=tuple(ops), constants=constants, caches=caches)


def _cache(cache: Cache, scales: Scales) -> Cache:
    keys, values = (tuple(map(float, each)) for each in scales)
    return replace(cache, key_scales=keys, value_scales=values)
