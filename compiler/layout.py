"""Where tensors' elements lie: SRAM rows of fp32, and the gaps between them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from compiler.builder import round_up
from compiler.errors import CompileError
from compiler.graph import Graph, Op, Tensor
from compiler.virtual import Buffer
from isa.config import F32_BYTES, ChipConfig


@dataclass(frozen=True)
class Layout:
    """A token's numbers: ``segments`` runs of ``width`` elements, each padded to whole vectors."""

    segments: int
    width: int
    lanes: int

    @property
    def padded_width(self) -> int:
        return round_up(self.width, self.lanes)

    @property
    def dense(self) -> bool:
        """No gaps, except behind the last element."""
        return self.width == self.padded_width or self.segments == 1

    @property
    def token_elements(self) -> int:
        """Elements with padding."""
        return self.segments * self.padded_width

    @property
    def token_bytes(self) -> int:
        return F32_BYTES * self.token_elements

    def row_bytes(self, groups: int, width: int) -> int | None:
        """Distance of the rows of the view (groups, width), None if they do not lie evenly."""
        if groups == 1 and (self.segments == 1 or self.dense):
            return self.token_bytes
        if width == self.width or (self.dense and width % self.lanes == 0):
            return F32_BYTES * round_up(width, self.lanes)
        return None

    def place(self, elements: np.ndarray) -> np.ndarray:
        """Physical indices of element numbers of the token."""
        return elements // self.width * self.padded_width + elements % self.width

    def length(self, count: int) -> int:
        """Up to the last one of the first ``count`` elements, gaps included."""
        return int(self.place(np.array([count - 1]))[0]) + 1


@dataclass(frozen=True)
class Placed:
    """A tensor in SRAM: (tokens of the chunk, layout)."""

    buffer: Buffer
    layout: Layout


_SAME_SHAPE = {"add", "sub", "mul", "max", "min", "rotate", "view"}
_SAME_SHAPE |= {"sigmoid", "exp", "sqrt", "recip", "rsqrt", "tanh", "round"}


def choose_layouts(graph: Graph, config: ChipConfig) -> dict[str, Layout]:
    """One layout for all tensors that views and element-wise operators tie together.

    The segment is the narrowest width any of them is viewed in, so that every view's rows start at
    a vector.
    """
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    for op in graph.ops:
        find(op.output.name)
        for operand in _tied(op):
            root[find(operand.name)] = find(op.output.name)
    tensors = {t.name: t for t in _tensors(graph)}
    width: dict[str, int] = {}
    for tensor in tensors.values():
        key = find(tensor.name)
        width[key] = min(width.get(key, tensor.width), tensor.width)
    layouts = {}
    for tensor in tensors.values():
        unit = width[find(tensor.name)]
        if tensor.width % unit:
            raise CompileError(
                f"{graph.source}: tensor {tensor.name}",
                f"rows of {tensor.width} and of {unit} elements share one buffer",
                "a view must cut rows into equal parts",
            )
        layouts[tensor.name] = Layout(tensor.size // unit, unit, config.lanes)
    return layouts


def _tied(op: Op) -> Iterable[Tensor]:
    if "plus" in op.attributes:
        return [i for i in op.inputs[2:3] if isinstance(i, Tensor)]
    if op.kind not in _SAME_SHAPE or moves(op):
        return []
    size = op.output.size
    return [i for i in op.inputs if isinstance(i, Tensor) and i.size == size]


def moves(op: Op) -> bool:
    """Whether it is a view that cuts rows into single numbers, or joins them: a number alone lies
    in a vector of its own."""
    (first, *_), out = op.inputs, op.output
    if op.kind != "view" or not isinstance(first, Tensor):
        return False
    return out.size > 1 and (first.width == 1) != (out.width == 1)


def _tensors(graph: Graph) -> Iterable[Tensor]:
    for op in graph.ops:
        yield op.output
        yield from (i for i in op.inputs if isinstance(i, Tensor))


def physical_weights(weights: np.ndarray, rows: Layout, cols: Layout) -> np.ndarray:
    """(K, N) fp32 → with zero rows and columns where the layouts have gaps."""
    if rows.dense and cols.dense:
        return weights
    k = rows.place(np.arange(weights.shape[0]))
    n = cols.place(np.arange(weights.shape[1]))
    full = np.zeros((rows.length(len(k)), cols.length(len(n))), np.float32)
    full[np.ix_(k, n)] = weights
    return full
