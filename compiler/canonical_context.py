"""The state of canonicalisation: what every ONNX value has become, and the operators so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
import onnx
from onnx import helper

from compiler.canonical_arrange import LARGEST, arrange
from compiler.canonical_select import select
from compiler.deferred import Array, Deferred, same
from compiler.errors import CompileError
from compiler.evaluate import Evaluator
from compiler.evaluate_node import source_of
from compiler.evaluate_sample import Shape
from compiler.evaluate_shapes import Sized
from compiler.graph import Cache, Constant, Op, Operand, Rule, Scalar, Source, Table, Tensor
from compiler.importer_interface import IDS
from compiler.movement import FeatureMap, Moved, feature_map, rotation
from compiler.token_axis import context_of, token_axis


class Value(Protocol):
    """An activation: a moved tensor or, inside attention, scores."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens lie in an ONNX shape, and the other axes in order.

    `heads`: so many of each token lie on the axis of the tokens, behind each other; they are the
    first of `rest`, if there are more than one.
    """

    token_axis: int
    rank: int
    rest: tuple[int, ...]
    heads: int = 1

    @property
    def groups(self) -> int:
        return int(np.prod(self.rest[:-1], dtype=np.int64))

    @property
    def width(self) -> int:
        return self.rest[-1] if self.rest else 1

    @property
    def width_is_last(self) -> bool:
        """Whether the last ONNX axis is the width, not the tokens."""
        return self.token_axis != self.rank - 1


def refuse(node: onnx.NodeProto, problem: str, remedy: str = "") -> NoReturn:
    """Raise CompileError about `node`."""
    raise CompileError(str(source_of(node)), problem, remedy)


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An ONNX attribute's value, or `default`."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def is_ids(value: object) -> bool:
    """Whether it is a moved input of ids, one a token."""
    root = value.root if isinstance(value, Moved) else None
    return isinstance(root, Tensor) and root.name in IDS


class Context:
    """Values by ONNX name, operators by output tensor, and the samples they are read from."""

    def __init__(
        self, evaluator: Evaluator, max_context: int | None, rule: Rule | None = None
    ) -> None:
        self.evaluator = evaluator
        self.rule = rule  # of a token that is picked by its id
        self.samples = evaluator.interface.samples
        self.runs = evaluator.learn_shapes(self.samples)
        self.max_context = context_of(evaluator, max_context)
        self.caches = list(evaluator.interface.caches)
        self.values: dict[str, Value] = {}
        self.ops: dict[str, Op] = {}
        self.constants: dict[str, Array] = {}
        self.tables: dict[str, np.ndarray] = {}
        self.by_position: dict[tuple[str, int, int], np.ndarray] = {}  # name, rank, token axis
        # Values of one token, which one, and the tensors that are computed from them.
        self.picked: dict[str, str] = {}
        self.picked_tensors: dict[str, str] = {}
        self.flags: set[str] = set()  # tensors of zeros and ones
        self._materialised: dict[str, Tensor] = {}
        self._emitted: dict[tuple[Any, ...], Tensor] = {}

    def is_known(self, name: str) -> bool:
        return name not in self.evaluator.activations

    def known(self, name: str) -> list[np.ndarray]:
        """A known value in every sample."""
        return [self.evaluator.known(name, run) for run in self.runs]

    def shapes(self, name: str) -> tuple[Shape, ...]:
        """An activation's ONNX shape in every sample."""
        return tuple(run.shapes[name] for run in self.runs)

    def layout(self, name: str, node: onnx.NodeProto) -> Layout:
        """Find the one axis of an activation that follows the number of tokens.

        Of a token that was picked, the first axis of length 1 is that of its one token.
        """
        self._check_activation(name, node)
        dims = self.evaluator.symbols.get(name, ())
        if name in self.picked and 1 in dims:
            axis = dims.index(1)
            others = (*dims[:axis], *dims[axis + 1 :])
            return Layout(axis, len(dims), tuple(dim for dim in others if isinstance(dim, int)))
        fixed = tuple(dim for dim in dims if isinstance(dim, int))
        if fixed_tokens := self.evaluator.interface.tokens:
            axis = self._token_axis(name, fixed_tokens, node)
            return Layout(axis, len(dims), (*fixed[:axis], *fixed[axis + 1 :]))
        tokens = [axis for axis, dim in enumerate(dims) if isinstance(dim, Sized)]
        sized = dims[tokens[0]] if len(tokens) == 1 else None
        if not isinstance(sized, Sized) or sized.name != "new":
            first, second = self.shapes(name)[:2]
            refuse(
                node,
                f'"{name}" must have one axis of tokens and fixed others, not shapes {first} '
                f"and {second} for {self.samples[0].new} and {self.samples[1].new} tokens",
            )
        heads = sized.factor
        rest = (heads, *fixed) if heads > 1 else fixed
        return Layout(tokens[0], len(dims), rest, heads)

    def _token_axis(self, name: str, tokens: int, node: onnx.NodeProto) -> int:
        axis = token_axis(self, name, tokens)
        if axis is None:
            shape = self.shapes(name)[0]
            refuse(node, f'"{name}" must have one axis of {tokens} tokens, not shape {shape}')
        return axis

    def _check_activation(self, name: str, node: onnx.NodeProto) -> None:
        if name not in self.runs[0].shapes:
            refuse(node, f'"{name}" must depend on the tokens' if name else "an input is missing")

    def define(self, name: str, tensor: Tensor, node: onnx.NodeProto) -> None:
        """The ONNX value `name` is `tensor`, in its own order."""
        if name in self.picked:
            self.picked_tensors[tensor.name] = self.picked[name]
        axis = self.layout(name, node).token_axis
        self.values[name] = Moved(tensor, self.shapes(name), axis)

    def add_cache(self, heads: int, width: int) -> Cache:
        """A cache that the graph does not show."""
        self.caches.append(Cache(len(self.caches), "", "", "", "", heads, width))
        return self.caches[-1]

    def add_constant(self, name: str, array: Array) -> Constant:
        """Keep `array` as float32 under `name`, or a variant of it where that is taken."""
        unique, count = name, 0
        if not isinstance(array, Deferred):
            array = np.ascontiguousarray(array, dtype=np.float32)
        while unique in self.constants and not same(self.constants[unique], array):
            count += 1
            unique = f"{name}.{count}"
        self.constants[unique] = array
        return Constant(unique)

    def add_table(self, name: str, array: np.ndarray) -> Table:
        """Keep `array` as a table, or find the equal one: exporters reshape one table per layer."""
        array = np.ascontiguousarray(array, dtype=np.float32)
        for known, other in self.tables.items():
            if same(other, array):
                return Table(known)
        self.tables[name] = array
        return Table(name)

    def emit(
        self,
        kind: str,
        inputs: Sequence[Operand],
        size: tuple[int, int],
        name: str,
        sources: Sequence[Source],
        attributes: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Append an operator whose output is (groups, width) = `size`, named after `name`."""
        unique, count = name, 0
        while unique in self.ops:
            count += 1
            unique = f"{name}.{count}"
        output = Tensor(unique, *size)
        self.ops[unique] = Op(kind, tuple(inputs), output, tuple(sources), attributes or {})
        return output

    def tensor(self, name: str, node: onnx.NodeProto) -> Tensor:
        """The value `name` as a per-token tensor of its ONNX shape, moved if it must be."""
        if name not in self._materialised:
            self._check_activation(name, node)
            value = self.values.get(name)
            if not isinstance(value, Moved) or not isinstance(value.root, Tensor):
                refuse(node, f'"{name}" is used outside the attention it belongs to')
            if value.scale != 1:
                refuse(node, f'"{name}" is repeated heads times a number: for attention alone')
            if is_ids(value):
                refuse(node, "token ids can only select rows of the embedding")
            self._materialised[name] = self._materialise(name, value, node)
        return self._materialised[name]

    def _materialise(self, name: str, value: Moved, node: onnx.NodeProto) -> Tensor:
        root, layout = value.root, self.layout(name, node)
        assert isinstance(root, Tensor)
        size = layout.groups, layout.width
        if value.index is None:
            return self.view(root, size, name, value.sources)
        if name in self.picked and root.name not in self.picked_tensors:
            pick = self.picked[name]
            value = value.of_token([sample.place(pick) for sample in self.samples])
        features = feature_map(value, layout.token_axis, layout.heads)
        if features is None:
            origin = f'"{value.sources[-1].name}" ({value.sources[-1].op_type})'
            refuse(node, f"its input from {origin} mixes tokens or has elements of no one token")
        return self.features(value, features, size, name, node)

    def features(
        self,
        value: Moved,
        features: FeatureMap,
        size: tuple[int, int],
        name: str,
        node: onnx.NodeProto,
    ) -> Tensor:
        """These features of a moved tensor, as (groups, width) = `size`."""
        root, sources = value.root, value.sources
        assert isinstance(root, Tensor)
        used = np.unique(features.position)
        if used.size == features.size < root.size:  # each of them once: cut them off first
            part = select(self, root, used, sources)
            if part is not None:
                places = np.searchsorted(used, features.position)
                root, features = part, FeatureMap(places, features.sign)
        if features.size == root.size:
            if features.keeps_order() and (features.sign > 0).all():
                return self.view(root, size, name, sources)
            if features.keeps_order() and (features.sign < 0).all():
                return self._negative(self.view(root, size, name, sources), name, value)
            if (turned := rotation(features, *size)) is not None:
                attributes = {"shift": turned[0], "signs": turned[1]}
                source = self.view(root, size, f"{name}.view", sources)
                return self.once("rotate", (source,), size, name, sources, attributes)
        if (features.sign > 0).all() and features.size < root.size:
            tensor = select(self, root, features.position, sources)
            if tensor is not None:
                return self.view(tensor, size, name, sources)
        tensor = arrange(self, [root], features, size, name, sources)
        if tensor is None:
            refuse(
                node,
                f'its input from "{sources[-1].name}" ({sources[-1].op_type}) rearranges '
                f"{root.size} features of a token, more than {LARGEST}",
            )
        return tensor

    def _negative(self, tensor: Tensor, name: str, value: Moved) -> Tensor:
        size = tensor.groups, tensor.width
        return self.emit("mul", (tensor, Scalar(-1.0)), size, name, value.sources)

    def view(
        self, root: Tensor, size: tuple[int, int], name: str, sources: Sequence[Source]
    ) -> Tensor:
        """`root` as (groups, width) = `size`: the same numbers in the same order."""
        if (root.groups, root.width) == size:
            return root
        return self.once("view", (root,), size, name, sources)

    def once(
        self,
        kind: str,
        inputs: Sequence[Operand],
        size: tuple[int, int],
        name: str,
        sources: Sequence[Source],
        attributes: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Emit an operator, or return the equal one that exists."""
        key = (kind, tuple(inputs), size, *(attributes or {}).values())
        if key not in self._emitted:
            self._emitted[key] = self.emit(kind, inputs, size, name, sources, attributes)
        return self._emitted[key]
