"""Known values that meet activations: numbers, constant vectors and tables by position."""

from dataclasses import replace

import numpy as np
import onnx

from compiler.canonical_context import Context, Layout, refuse
from compiler.deferred import same
from compiler.evaluate_sample import Sample
from compiler.graph import Operand, Scalar

SHUFFLED = Sample(7, 13, positions=(4, 0, 17, 3, 9, 1, 12))


def scalar(context: Context, name: str) -> float | None:
    """The number that a known value holds at every size, else None."""
    if not context.is_known(name):
        return None
    arrays = context.known(name)
    if any(array.size != 1 for array in arrays):
        return None
    if name in context.evaluator.varying:
        arrays.append(_at_full_size(context, name).reshape(arrays[0].shape))
    first = float(arrays[0].reshape(()))
    return first if all(same(array, arrays[0]) for array in arrays) else None


def operand(context: Context, name: str, output: Layout, node: onnx.NodeProto) -> Operand:
    """The known value `name` as an operand of a node whose output has the layout `output`."""
    arrays = [_widen(array, output.rank, node) for array in context.known(name)]
    number = _everywhere(context, name, arrays)
    if number is not None:
        return Scalar(number)
    sizes = tuple(array.shape[output.token_axis] for array in arrays)
    if set(sizes) == {1}:
        return _constant(context, name, arrays, output, node)
    if sizes != tuple(sample.new for sample in context.samples):
        refuse(node, f'"{name}" has {sizes[0]} rows for {context.samples[0].new} tokens')
    return _table(context, name, arrays, output, node)


def _everywhere(context: Context, name: str, arrays: list[np.ndarray]) -> float | None:
    """The number that all of a value is, whose size depends on the tokens: as a mask's ones, or
    those of a norm without a scale. Weights stay what they are: layers should be alike."""
    if name not in context.evaluator.varying or not arrays[0].size:
        return None
    first = arrays[0].flat[0]
    same_number = all((array == first).all() for array in arrays)
    if not same_number or not (_at_full_size(context, name) == first).all():
        return None
    return float(first)


def _constant(
    context: Context, name: str, arrays: list[np.ndarray], output: Layout, node: onnx.NodeProto
) -> Operand:
    first = arrays[0]
    others = arrays[1:]
    if name in context.evaluator.varying:
        others = [*others, _widen(_at_full_size(context, name), output.rank, node)]
    if not all(same(array, first) for array in others):
        refuse(node, f'"{name}" depends on the number of tokens, but has no row for each')
    if first.size == 1:
        return Scalar(float(first.reshape(())))
    rest = _features(first, output, node)
    if rest.shape[1] == 1 and rest.shape[0] == 1:
        return Scalar(float(rest[0, 0]))
    return context.add_constant(name, rest)


def _features(array: np.ndarray, output: Layout, node: onnx.NodeProto) -> np.ndarray:
    """A one-row array as (1 or groups, 1 or width)."""
    array = array.reshape(np.delete(array.shape, output.token_axis))
    if array.ndim == 0:
        return array.reshape(1, 1)
    width = array.shape[-1]
    if set(array.shape[:-1]) <= {1}:
        return array.reshape(1, width)
    try:
        return np.broadcast_to(array, (*output.rest[:-1], width)).reshape(output.groups, width)
    except ValueError:
        refuse(node, f"a constant of shape {array.shape} does not fit features {output.rest}")


def _table(
    context: Context, name: str, arrays: list[np.ndarray], output: Layout, node: onnx.NodeProto
) -> Operand:
    """A known value with a row per token: check that the row is a function of the position."""
    key = (name, output.rank, output.token_axis)
    if key not in context.by_position:  # every layer asks for the same
        context.by_position[key] = _checked_rows(context, name, arrays, output, node)
    return context.add_table(name, context.by_position[key])


def _checked_rows(
    context: Context, name: str, arrays: list[np.ndarray], output: Layout, node: onnx.NodeProto
) -> np.ndarray:
    full = _at_full_size(context, name)
    table = _rows(_widen(full, output.rank, node), output, name, node)
    cases = list(zip(arrays, (s.position_array()[0] for s in context.samples), strict=True))
    if context.evaluator.interface.positions:
        run = context.evaluator.run(shuffled(context), [name])
        array = _widen(context.evaluator.known(name, run), output.rank, node)
        cases.append((array, SHUFFLED.position_array()[0]))
    for array, positions in cases:
        if not same(_rows(array, output, name, node), table[positions]):
            refuse(node, f'"{name}" depends on more than the position of each token')
    return table[: context.max_context]


def shuffled(context: Context) -> Sample:
    """Positions that are not in order."""
    return replace(SHUFFLED, past=context.samples[0].past)


def full_size(context: Context) -> int:
    """`max_context` tokens, and at least as many as samples have."""
    if tokens := context.evaluator.interface.tokens:
        return tokens
    totals = (sample.total for sample in context.samples)
    return max(context.max_context, 1 + max(SHUFFLED.positions), *totals)


def _at_full_size(context: Context, name: str) -> np.ndarray:
    """A known value for all positions at once."""
    run = context.evaluator.run(Sample(full_size(context), 0), [name])
    return context.evaluator.known(name, run)


def _rows(array: np.ndarray, output: Layout, name: str, node: onnx.NodeProto) -> np.ndarray:
    """[tokens, 1 or width] of an array whose other axes are 1."""
    array = np.moveaxis(array, output.token_axis, 0)
    if array.size != array.shape[0] * (array.shape[-1] if array.ndim > 1 else 1):
        refuse(node, f'"{name}" differs between the heads of a token, not only between positions')
    return array.reshape(array.shape[0], -1)


def _widen(array: np.ndarray, rank: int, node: onnx.NodeProto) -> np.ndarray:
    if array.ndim > rank:
        refuse(node, f"a constant of rank {array.ndim} meets a result of rank {rank}")
    return array.reshape((1,) * (rank - array.ndim) + array.shape)
