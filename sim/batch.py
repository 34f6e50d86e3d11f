"""Batches and padding: each sequence is run by itself, without the tokens that its mask leaves out.

What `attention_mask` says 0 of must be a run of tokens in front of a sequence (left padding) or
behind it (right padding), in the cache or among the new tokens. Outputs get rows of zeros at such
tokens, the caches keep what they held there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa.iomap import IoMap, Tensor
from sim.host import Arrays, InputError, count_of


@dataclass(frozen=True)
class Part:
    """One sequence of a batch, as if it came alone; ``past``, ``new``: which of the batch's places
    its tokens stand in."""

    inputs: Arrays
    past: NDArray[np.bool_]
    new: NDArray[np.bool_]


def run_batch(io: IoMap, inputs: Arrays, run: Callable[[Arrays], Arrays]) -> Arrays:
    """All outputs of ``inputs``, whose first axis is the batch; ``run`` takes one sequence without
    padding. Raises InputError."""
    batch = _batch(io, inputs)
    masks = [tensor.name for tensor in io.of_kind("mask")]
    plain = batch == 1 and all(np.all(inputs.get(name, 1) == 1) for name in masks)
    if batch is None or plain:
        return run(inputs)  # which names what is missing or of another shape
    parts = [_alone(io, inputs, index) for index in range(batch)]
    found = [_in_place(io, inputs, i, part, run(part.inputs)) for i, part in enumerate(parts)]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def _batch(io: IoMap, inputs: Arrays) -> int | None:
    """Its size; None if the inputs are not what the model takes."""
    ranks = {t.name: _rank(t) for t in io.tensors if t.kind in _RANKS and t.name}
    if {name: array.ndim for name, array in inputs.items()} != ranks:
        return None
    sizes = {name: len(array) for name, array in inputs.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} of {name!r}" for name, size in sizes.items())
        raise InputError(f"inputs must be of one batch, not {listed}")
    return next(iter(sizes.values())) or None


_RANKS = {"tokens": 2, "positions": 2, "mask": 2, "kv": 4, "features": 3}


def _rank(tensor: Tensor) -> int:
    return 4 if tensor.image else _RANKS[tensor.kind]


def _alone(io: IoMap, inputs: Arrays, index: int) -> Part:
    one = {name: array[index : index + 1] for name, array in inputs.items()}
    main = (*io.of_kind("tokens"), *io.of_kind("features"))[0]
    caches = [one[t.name] for t in io.of_kind("kv") if t.name]
    count, past = count_of(main, one[main.name].shape), caches[0].shape[2] if caches else 0
    kept = np.ones(past + count, bool)
    for tensor in io.of_kind("mask"):
        if one[tensor.name].shape != (1, past + count):
            return Part(one, kept[:past], kept[past:])  # the run says what is wrong
        kept &= _real(one[tensor.name][0], tensor.name, index)
    _check(io, kept, past, index)
    new = kept[past:]
    for tensor in io.tensors:
        if tensor.name and tensor.kind in ("tokens", "positions", "features") and not tensor.image:
            one[tensor.name] = one[tensor.name][:, new]
        elif tensor.name and tensor.kind == "mask":
            one[tensor.name] = one[tensor.name][:, kept]
        elif tensor.name and tensor.kind == "kv":
            one[tensor.name] = one[tensor.name][:, :, kept[:past]]
    return Part(one, kept[:past], new)


def _real(mask: NDArray, name: str, index: int) -> NDArray[np.bool_]:
    """Where the mask is 1."""
    if not np.isin(mask, (0, 1)).all():
        raise InputError(f"input {name!r} must be 0 or 1, sequence {index} has {mask.max()}")
    return mask == 1


def _check(io: IoMap, kept: NDArray[np.bool_], past: int, index: int) -> None:
    where = f"sequence {index} of the batch"
    if not kept[past:].any():
        raise InputError(f"{where}: its mask leaves no new token")
    places = np.flatnonzero(kept)
    first, last = int(places[0]), int(places[-1])
    if not kept[first:last].all():
        raise InputError(f"{where}: padding must be in front of its tokens or behind them")
    named = any(tensor.name for tensor in io.of_kind("positions"))
    if first and not named:
        raise InputError(
            f"{where}: the model counts its positions itself, so padding must be behind the tokens"
        )


def _in_place(io: IoMap, inputs: Arrays, index: int, part: Part, outputs: Arrays) -> Arrays:
    """A sequence's outputs at the places that its tokens have in the batch."""
    found = dict(outputs)
    for tensor in io.of_kind("output"):
        if not tensor.pick:
            found[tensor.name] = _spread(outputs[tensor.name], part.new, 1)
    kept = np.concatenate([part.past, part.new])
    for tensor in io.of_kind("kv"):
        if tensor.output:
            whole = _spread(outputs[tensor.output], kept, 2)
            left_out = np.flatnonzero(~part.past)
            whole[:, :, left_out] = inputs[tensor.name][index : index + 1, :, left_out]
            found[tensor.output] = whole
    return found


def _spread(array: NDArray, places: NDArray[np.bool_], axis: int) -> NDArray:
    """With zeros between, along that axis."""
    shape = (*array.shape[:axis], len(places), *array.shape[axis + 1 :])
    whole = np.zeros(shape, array.dtype)
    np.moveaxis(whole, axis, 0)[places] = np.moveaxis(array, axis, 0)
    return whole
