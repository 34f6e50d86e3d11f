"""Images as tokens: what a graph does to its pixels, up to one product, becomes rows per token.

A convolution whose kernel is as wide as its stride multiplies patches that do not overlap with one
matrix. What follows until the first node that computes (class tokens, registers, positions, in any
order and shape) is run on two arrays: which number of the product each element is, if any, and what
is added to it. So every token is a patch, or none, times the matrix, plus a row of a table. The
host moves pixels into the rows of patches; the chip multiplies.
"""

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler.canonical_movement import ALIASES, MOVES
from compiler.errors import CompileError
from compiler.evaluate_node import Nodes, results, source_of
from compiler.graph import Image
from compiler.importer_data import array_of
from compiler.importer_interface import IDS

FOLLOWED = (MOVES - {"Neg", "GatherElements", "GatherND", "Tile"}) | ALIASES


@dataclass(frozen=True)
class _Patched:
    """Elements ``index`` - 1 of the product (patches, features), where that is not -1, plus
    ``added``; both in the ONNX shape."""

    index: np.ndarray
    added: np.ndarray


class _Pixels:
    """The input itself."""


def expand_images(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Image]]:
    """The model with rows of patches in place of pixels, and for that input how they are cut."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    images = [value for value in inputs if _rank(value) == 4 and not value.name.startswith("past")]
    if not images:
        return model, {}
    others = [value.name for value in inputs if value is not images[0]]
    if any(name in IDS for name in others) or len(images) > 1:
        refused = f'input "{images[0].name}"', "images together with text are not supported"
        raise CompileError(*refused)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    value = next(v for v in changed.graph.input if v.name == images[0].name)
    return changed, {value.name: _Prefix(changed, value).replace()}


def _rank(value: onnx.ValueInfoProto) -> int:
    return len(value.type.tensor_type.shape.dim)


class _Prefix:
    """The nodes between an image and the first one that computes."""

    def __init__(self, model: onnx.ModelProto, value: onnx.ValueInfoProto) -> None:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if dims[0] > 1 or not all(dims[1:]):
            raise CompileError(
                f'input "{value.name}"',
                f"it must be [batch, channels, height, width], all but the batch fixed, not {dims}",
                "export with one size of images",
            )
        self.model, self.value, self.size = model, value, tuple(dims[1:])
        self.all = list(model.graph.node)  # one object for each, as `Nodes` needs it
        self.nodes = Nodes(model.opset_import, model.ir_version)
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self.known: dict[str, np.ndarray] = {}
        self.found: dict[str, _Patched | _Pixels] = {value.name: _Pixels()}
        self.kernel: np.ndarray | None = None

    def replace(self) -> Image:
        """Cut the nodes out of the model; the image's patches, and which token has which."""
        boundaries: dict[str, onnx.NodeProto] = {}
        kept = []
        for node in self.all:
            if not self._follow(node):
                kept.append(node)
                for name in node.input:
                    if name in self.found:
                        boundaries.setdefault(name, node)
        rows = {name: self._rows(name, node) for name, node in boundaries.items()}
        if len({order for order, _ in rows.values()}) != 1 or self.kernel is None:
            raise CompileError(f'input "{self.value.name}"', "its patches must become tokens once")
        ((order, _), *_), kernel = rows.values(), self.kernel
        features = kernel[0].size
        weights = np.ascontiguousarray(kernel.reshape(len(kernel), -1).T)
        new = []
        for name, (_, table) in rows.items():
            product, table_name, matrix = f"{name}.patches", f"{name}.table", f"{name}.kernel"
            self._store(matrix, weights)
            self._store(table_name, table[None])
            origin = boundaries[name].name or name
            new += [
                helper.make_node("MatMul", [self.value.name, matrix], [product], name=product),
                helper.make_node("Add", [product, table_name], [name], name=f"{origin}.tokens"),
            ]
        del self.model.graph.node[:]
        self.model.graph.node.extend([*new, *kept])
        shape = 1, len(order), features
        self.value.CopyFrom(
            helper.make_tensor_value_info(self.value.name, TensorProto.FLOAT, shape)
        )
        return Image(self.size, kernel.shape[2:], order)

    def _store(self, name: str, array: np.ndarray) -> None:
        tensor = numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
        self.model.graph.initializer.append(tensor)

    def _follow(self, node: onnx.NodeProto) -> bool:
        """Whether the node is part of the prefix; what it gives is remembered."""
        given = [self.found.get(name) for name in node.input]
        if all(value is None for value in given):
            return False
        shape = self._shape_of(node) if node.op_type in ("Shape", "Size") else None
        if shape is not None:
            self._store_integers(node, shape)
            return True
        first = given[0]
        if isinstance(first, _Pixels):
            if node.op_type == "Conv":
                self.found[node.output[0]] = self._convolve(node)
            elif node.op_type in ALIASES:
                self.found[node.output[0]] = first
            else:
                _refuse(node, "an image must first go through a convolution over its patches")
            return True
        if node.op_type in FOLLOWED:
            return self._move(node, given)
        if node.op_type in ("Add", "Sub") and len(node.input) == 2:
            return self._add(node, given)
        return False

    def _shape_of(self, node: onnx.NodeProto) -> list[np.ndarray] | None:
        value = self.found[node.input[0]]
        shape = (1, *self.size) if isinstance(value, _Pixels) else value.index.shape
        return self.nodes.run(node, [np.broadcast_to(np.float32(0), shape)])

    def _store_integers(self, node: onnx.NodeProto, arrays: list[np.ndarray]) -> None:
        for name, array in zip(results(node), arrays, strict=True):
            self.known[name] = array
            self.model.graph.initializer.append(numpy_helper.from_array(array, name))

    def _constant(self, name: str) -> np.ndarray | None:
        """The value of a name that no input decides, but the image's shape; None of others."""
        if name in self.known:
            return self.known[name]
        if name in self.stored:
            return array_of(self.stored[name])
        node = next((n for n in self.all if name in n.output), None)
        if node is None:
            return None
        arrays = [self._constant(each) for each in node.input if each]
        if any(array is None for array in arrays):
            return None
        outputs = self.nodes.run(node, [array for array in arrays if array is not None])
        self.known.update(zip(results(node), outputs, strict=True))
        return self.known[name]

    def _convolve(self, node: onnx.NodeProto) -> _Patched:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        weights = [self._constant(name) for name in node.input[1:]]
        if not weights or weights[0] is None or weights[-1] is None or weights[0].ndim != 4:
            _refuse(node, "its kernel and bias must be constant, of two dimensions")
        kernel = weights[0]
        cut = list(kernel.shape[2:])
        plain = attributes.get("strides") == cut and not any(attributes.get("pads", []))
        plain &= set(attributes.get("dilations", [1])) == {1} and attributes.get("group", 1) == 1
        plain &= attributes.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        if not plain or self.kernel is not None:
            _refuse(node, "it must cut an image into patches: strides as its kernel, no padding")
        self.kernel = kernel.astype(np.float32)
        _, height, width = self.size
        count, rows, columns = len(kernel), height // cut[0], width // cut[1]
        places = 1 + np.arange(rows * columns * count).reshape(1, rows, columns, count)
        index = places.transpose(0, 3, 1, 2)
        bias = weights[1] if len(weights) > 1 else np.zeros(count)
        assert bias is not None
        added = np.broadcast_to(bias.astype(np.float32)[None, :, None, None], index.shape)
        return _Patched(index, added)

    def _move(self, node: onnx.NodeProto, given: list[_Patched | _Pixels | None]) -> bool:
        """The node, on both arrays; constants that are joined are no elements of the product."""
        joined = node.op_type == "Concat"
        index, added = [], []
        for name, value in zip(node.input, given, strict=True):
            if not name:
                continue
            array = None if isinstance(value, _Patched) else self._constant(name)
            if isinstance(value, _Patched):
                index.append(value.index)
                added.append(value.added)
            elif array is None:
                return False
            else:
                index.append(np.zeros(array.shape, np.int64) if joined else array)
                added.append(array)
        if node.op_type in ALIASES:
            index, added = index[:1], added[:1]
            outputs = [(index[0], added[0])]
        else:
            outputs = list(
                zip(self.nodes.run(node, index), self.nodes.run(node, added), strict=True)
            )
        for name, pair in zip(results(node), outputs, strict=False):
            self.found[name] = _Patched(*pair)
        return True

    def _add(self, node: onnx.NodeProto, given: list[_Patched | _Pixels | None]) -> bool:
        """A constant, to what was added so far."""
        value = next(v for v in given if v is not None)
        other = self._constant(node.input[0 if given[0] is None else 1])
        if other is None or not isinstance(value, _Patched):
            return False
        if node.op_type == "Sub" and given[0] is None:
            return False
        sign = np.float32(-1 if node.op_type == "Sub" else 1)
        added = value.added + sign * other.astype(np.float32)
        self.found[node.output[0]] = _Patched(np.broadcast_to(value.index, added.shape), added)
        return True

    def _rows(self, name: str, node: onnx.NodeProto) -> tuple[tuple[int, ...], np.ndarray]:
        """The patch of each token, -1 for none, and what is added: (tokens, features)."""
        value = self.found[name]
        if isinstance(value, _Pixels) or self.kernel is None:
            _refuse(node, "an image must first go through a convolution over its patches")
        size, index = len(self.kernel), value.index
        if index.ndim != 3 or index.shape[0] != 1 or index.shape[2] != size:
            _refuse(node, f"patches must be [1, tokens, {size}] here, not of shape {index.shape}")
        patch = (index[0, :, 0] - 1) // size
        whole = np.where(patch[:, None] < 0, 0, patch[:, None] * size + 1 + np.arange(size))
        if (whole != index[0]).any():
            _refuse(node, "each token must be one patch, its features in their order")
        return tuple(int(p) for p in patch), value.added[0]


def _refuse(node: onnx.NodeProto, problem: str) -> NoReturn:
    raise CompileError(str(source_of(node)), problem)
