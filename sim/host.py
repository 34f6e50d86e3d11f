"""Inputs and outputs of a transformer's program in HBM, checked and converted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isa import formats
from isa.image import ProgramImage
from isa.iomap import LARGEST_CODE, NO_STOP, STOPS, STORAGE_BYTES, WORD_BYTES, Tensor, picked_place
from isa.numbers import to_bf16

Arrays = dict[str, NDArray]
_STORAGE: dict[str, np.dtype] = {
    "int32": np.dtype(np.int32),
    "f32": np.dtype(np.float32),
    "bf16": np.dtype(np.uint16),
    "e4m3": np.dtype(np.uint8),
    "i8": np.dtype(np.uint8),
}


class InputError(ValueError):
    """Inputs that the program cannot take; one line that names the array or the limit."""


class Host:
    """Writes what a run needs into ``hbm`` (uint8, all of it), and reads its results.

    Either `write` and `read` with all inputs and outputs as the ONNX file has them, or `prepare`
    and `finish` with the KV cache staying in HBM. ``past``: tokens in the cache; an encoder has
    none.
    """

    def __init__(self, image: ProgramImage, hbm: NDArray[np.uint8]) -> None:
        if not image.io.is_model:
            raise InputError("the program has no model inputs (it was assembled by hand)")
        self.io, self.hbm = image.io, hbm
        self.past = 0
        self._ids, self._features = self.io.of_kind("tokens"), self.io.of_kind("features")
        outputs = self.io.of_kind("output")
        self._main = next((t for t in outputs if t.name == "logits"), outputs[0])

    @property
    def vocabulary(self) -> int:
        """Token ids are below it."""
        self._needs_ids()
        return self._ids[0].limit

    def prepare(
        self, ids: Sequence[int] | NDArray, wanted: int = 0, stops: Sequence[int] = ()
    ) -> None:
        """Append tokens to the context: ids (S,); other inputs of the kind are 0. The program shall
        choose ``wanted`` more by itself, or until one of ``stops``, if it can."""
        self._needs_ids()
        tokens = np.asarray(ids, np.int64)
        self._check_count("tokens", len(tokens), self.past)
        self._check_ids("tokens", tokens, self._ids[0])
        self._view(self._ids[0], len(tokens))[:, 0, 0] = tokens
        for tensor in self._ids[1:]:
            self._view(tensor, len(tokens))[...] = 0
        self._write_positions(np.arange(self.past, self.past + len(tokens)))
        self._arguments(len(tokens), self.past)
        if wanted:
            self._write_wanted(wanted, stops)

    def prepare_rows(self, ids: NDArray, positions: NDArray) -> None:
        """New tokens of several sequences, one behind the other: ids and positions (S,)."""
        self._check_ids("tokens", ids, self._ids[0])
        for tensor in self._ids:
            self._view(tensor, len(ids))[:, 0, 0] = ids if tensor == self._ids[0] else 0
        self._write_positions(positions)
        self._arguments(len(ids), 0)

    def rows(self, count: int) -> NDArray[np.float32]:
        """After the run: logits, or the first output, of these tokens: (S, vocabulary)."""
        return self._view(self._main, count).reshape(count, -1).copy()

    def _needs_ids(self) -> None:
        if not self._ids or self._features:
            names = ", ".join(repr(tensor.name) for tensor in self._features)
            raise InputError(f"the model takes arrays, {names}, not tokens alone: run it with them")

    def finish(self, count: int) -> NDArray[np.float32]:
        """After the run: the logits (S, vocabulary) of the ``count`` tokens just appended, of a
        model without logits its first output."""
        self.past += count if self.io.causal else 0
        return self.rows(count)

    def chosen(self, count: int) -> list[int]:
        """After a run of ``count`` tokens that wanted more: the ids that the program chose."""
        where = self.io.generation
        assert where is not None
        made = int(self._words(where.made, 1)[0])
        self.past += count + made - 1
        return self._words(where.chosen, made).tolist()

    def write(self, inputs: Arrays) -> int:
        """All inputs of the ONNX file by name; returns S. Raises InputError.

        ids, mask, positions: (1, S), (1, P + S), (1, S); KV cache: (1, heads, P, head_dim).
        """
        count, past = self._check_inputs(inputs)
        self._write_positions(np.arange(past, past + count))
        for tensor in self.io.tensors:
            if tensor.kind == "kv" and tensor.name:
                rows = inputs[tensor.name][0].astype(np.float32).transpose(1, 0, 2)
                self._view(tensor, past)[...] = _codes(tensor, rows)
            elif tensor.kind == "features":
                rows = _rows(tensor, inputs[tensor.name][0])
                self._view(tensor, count)[:, 0] = rows
            elif tensor.kind in ("tokens", "positions") and tensor.name:
                self._view(tensor, count)[:, 0, 0] = inputs[tensor.name][0]
        self._arguments(count, past)
        self.past = past
        return count

    def read(self, count: int) -> Arrays:
        """After the run of S = ``count`` tokens: all outputs of the ONNX file by name.

        logits: (1, S, vocabulary); of one token alone (1, features); KV cache: (1, heads, P + S,
        head_dim).
        """
        self.finish(count)
        outputs = self.outputs(count)
        for tensor in self.io.of_kind("kv"):
            if not tensor.output:
                continue  # the model shows no cache
            rows = self._cached(tensor, self.past).transpose(1, 0, 2)
            outputs[tensor.output] = rows[None].astype(tensor.onnx_dtype)
        return outputs

    def outputs(self, count: int) -> Arrays:
        """After the run of ``count`` tokens: the outputs by name, as `read` gives them, but for
        those of the cache."""
        outputs: Arrays = {}
        ids = self._view(self._ids[0], count)[:, 0, 0] if self._ids else np.zeros(count)
        for tensor in self.io.of_kind("output"):
            rows = self._view(tensor, count).reshape(1, count, -1).astype(tensor.onnx_dtype)
            array = rows[:, picked_place(tensor.pick, tensor.pick_id, ids)] if tensor.pick else rows
            outputs[tensor.name] = array[..., 0] if tensor.squeezed else array
        return outputs

    def caches(self, count: int) -> list[NDArray[np.float32]]:
        """Each layer's keys, then its values, of the first ``count`` tokens: (count, heads,
        head_dim)."""
        return [self._cached(tensor, count) for tensor in self.io.of_kind("kv")]

    def _cached(self, tensor: Tensor, count: int) -> NDArray[np.float32]:
        rows = formats.decode(tensor.dtype, self._view(tensor, count))
        if tensor.grids:
            rows = rows * np.float32(tensor.grids[-1][0])
        return rows * _of_heads(tensor) if tensor.scales else rows

    def _arguments(self, count: int, past: int) -> None:
        self.io.write_sizes(self.hbm, count, past)
        if self.io.generation:
            self._words(self.io.generation.wanted, 1)[0] = 0

    def _write_wanted(self, wanted: int, stops: Sequence[int]) -> None:
        where = self.io.generation
        if where is None:
            raise InputError("the program cannot choose tokens: it has no logits, or too long ones")
        if len(stops) > STOPS:
            raise InputError(f"a program takes at most {STOPS} stop tokens, not {len(stops)}")
        self._words(where.wanted, 1)[0] = wanted
        self._words(where.made, 1)[0] = 0
        self._words(where.stops, STOPS)[:] = [*stops, *[NO_STOP] * (STOPS - len(stops))]

    def _words(self, address: int, count: int) -> NDArray[np.uint32]:
        return self.hbm[address : address + count * WORD_BYTES].view(np.uint32)

    def _view(self, tensor: Tensor, rows: int) -> NDArray:
        """The first rows of a tensor in HBM: (rows, groups, width), a view."""
        shape = (rows, tensor.groups, tensor.width)
        strides = (tensor.row_bytes, tensor.group_step(), STORAGE_BYTES[tensor.dtype])
        return np.ndarray(
            shape, _STORAGE[tensor.dtype], self.hbm.data, offset=tensor.address, strides=strides
        )

    def _write_positions(self, positions: NDArray) -> None:
        for tensor in self.io.of_kind("positions"):
            self._view(tensor, len(positions))[:, 0, 0] = positions

    def _check_inputs(self, inputs: Arrays) -> tuple[int, int]:
        """S and P, after all names, types, shapes and values have been checked."""
        kinds = ("tokens", "features", "positions", "mask", "kv")
        wanted = {t.name: t for t in self.io.tensors if t.kind in kinds and t.name}
        for name in inputs:
            if name not in wanted:
                raise InputError(f"unknown input {name!r}, the model has {', '.join(wanted)}")
        for name, tensor in wanted.items():
            if name not in inputs:
                raise InputError(f"input {name!r} is missing")
            _check_dtype(tensor, inputs[name])
        caches = [tensor for tensor in wanted.values() if tensor.kind == "kv"]
        main = (*self._ids, *self._features)[0]
        ids = inputs[main.name]
        count = count_of(main, ids.shape)
        first = inputs[caches[0].name].shape if caches else (0,) * 4
        past = first[2] if len(first) == 4 else 0
        for name, tensor in wanted.items():
            _check_shape(name, inputs[name].shape, _shape(tensor, count, past))
        self._check_count(main.name, count, past)
        for tensor in wanted.values():
            self._check_values(tensor, inputs[tensor.name])
        return count, past

    def _check_count(self, name: str, count: int, past: int) -> None:
        limit, exact = self.io.max_context, self.io.exact_new
        if exact and count != exact:
            raise InputError(f"{name!r} must hold {exact} tokens, not {count}")
        if not count:
            raise InputError(f"{name!r} must hold at least one token")
        if count > self.io.largest_launch and count + past <= limit:
            raise InputError(
                f"{count} tokens are more than the {self.io.largest_launch} that the program takes "
                f"at once, as its numbers depend on all of them: give them in parts"
            )
        if count + past > limit:
            cached = f" behind {past} cached ones" if past else ""
            raise InputError(
                f"{count} tokens{cached} exceed the program's context of {limit}: shorten the "
                f"prompt or compile with a larger --max-context"
            )

    def _check_values(self, tensor: Tensor, values: NDArray) -> None:
        if tensor.kind == "mask" and not np.all(values == 1):
            raise InputError(f"input {tensor.name!r} must be all ones: padding is not supported")
        if tensor.kind in ("tokens", "positions"):
            self._check_ids(tensor.name, values, tensor)

    def _check_ids(self, name: str, values: NDArray, tensor: Tensor) -> None:
        outside = values[(values < 0) | (values >= tensor.limit)]
        if outside.size:
            raise InputError(f"{name!r} must be 0 … {tensor.limit - 1}, not {outside.flat[0]}")
        padding = values[np.isin(values, list(tensor.excluded))]
        if padding.size:
            raise InputError(f"{name!r} must not be {padding.flat[0]}: padding is not supported")


def _codes(tensor: Tensor, values: NDArray[np.float32]) -> NDArray:
    """fp32 as a KV cache keeps it."""
    unit = np.float32(1)
    for scale, low, high in tensor.grids:
        values = np.clip(np.rint(values * unit / np.float32(scale)), low, high)
        unit = np.float32(scale)
    if tensor.scales:
        scaled = values * (np.float32(1) / _of_heads(tensor))
        values = np.clip(scaled, -LARGEST_CODE, LARGEST_CODE)
    return to_bf16(values) if tensor.dtype == "bf16" else formats.quantise(tensor.dtype, values)


def _of_heads(tensor: Tensor) -> NDArray[np.float32]:
    """The cache's scales, one for each head: (heads, 1)."""
    return np.array(tensor.scales, np.float32)[:, None]


def count_of(tensor: Tensor, shape: tuple[int, ...]) -> int:
    """How many tokens an array of that shape brings, of ids or of features."""
    if tensor.image:
        return len(tensor.order)
    if tensor.kind == "tokens":
        return shape[-1] if shape else 0
    return shape[1] if len(shape) > 1 else 0


def _rows(tensor: Tensor, values: NDArray) -> NDArray:
    """(tokens, features) of an array; an image is cut into patches."""
    if not tensor.image:
        return values
    (height, width), channels = tensor.cut, tensor.image[0]
    down, across = tensor.image[1] // height, tensor.image[2] // width
    whole = values[:, : down * height, : across * width]
    patches = whole.reshape(channels, down, height, across, width).transpose(1, 3, 0, 2, 4)
    rows = patches.reshape(down * across, -1)
    order = np.array(tensor.order)
    return np.where(order[:, None] >= 0, rows[order], np.float32(0))


def _shape(tensor: Tensor, count: int, past: int) -> tuple[int, ...]:
    if tensor.kind == "features":
        return (1, *tensor.image) if tensor.image else (1, count, tensor.width)
    if tensor.kind == "kv":
        return (1, tensor.groups, past, tensor.width)
    return (1, past + count) if tensor.kind == "mask" else (1, count)


def _check_shape(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise InputError(f"input {name!r} must have shape {wanted}, not {shape}")


def _check_dtype(tensor: Tensor, array: NDArray) -> None:
    kind = np.dtype(tensor.onnx_dtype).kind
    if array.dtype.kind != kind:
        raise InputError(
            f"input {tensor.name!r} must be of type {tensor.onnx_dtype}, not {array.dtype}"
        )
