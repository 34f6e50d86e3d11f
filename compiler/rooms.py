"""Tensors' rooms in SRAM, and who may have one again."""

from collections import Counter
from collections.abc import Iterable, Mapping

from compiler.graph import Op, Tensor
from compiler.layout import Layout, Placed


class Reads:
    """How often tensors are still to be read. ``pinned``: by names of buffers, what will be written
    there in the end, and which tensors may lie there before that; no other one gets that room."""

    def __init__(self, ops: Iterable[Op]) -> None:
        self.pinned: dict[str, tuple[str, frozenset[str]]] = {}
        self.begin(ops)

    def begin(self, ops: Iterable[Op]) -> None:
        """These operators are lowered next, one after another."""
        self.left = Counter(x.name for op in ops for x in _tensors(op))

    def finish(self, op: Op) -> None:
        """The operator is lowered: it reads its inputs no more."""
        self.left.subtract(x.name for x in _tensors(op))

    def may_overwrite(
        self, op: Op, source: Tensor, tensors: Mapping[str, Placed], layout: Layout
    ) -> bool:
        """Whether the output, of this ``layout``, can lie where an input does, element for element:
        nothing that lies there is read by another operator. ``tensors``: what has a room."""
        room = tensors[source.name]
        mine = Counter(x.name for x in _tensors(op))
        later, allowed = self.pinned.get(room.buffer.name, ("", frozenset([op.output.name])))
        users = [name for name, placed in tensors.items() if placed.buffer == room.buffer]
        free = all(self.left[name] <= mine[name] for name in users if name != later)
        alike = layout == room.layout and op.output.size == source.size
        return free and alike and op.output.name in allowed


def _tensors(op: Op) -> list[Tensor]:
    return [x for x in op.inputs if isinstance(x, Tensor)]
