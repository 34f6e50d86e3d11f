"""Damaged ONNX files: whatever is wrong with one, jcc refuses it in one line, or compiles it.

    python -m tests.compiler.damage MODEL.onnx … [--mutants 100000] [--seed 1] [--jobs 2]

Each mutant of a model (nodes, attributes, tensors, types, opsets, or bytes of the file) is compiled
in a child process. An exception that is no `CompileError`, a text of several lines, a crash, more
than a minute and more than 4 GB are failures; they are printed, and the exit status is 1.
"""

import argparse
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler.canonical import SUPPORTED
from compiler.errors import CompileError
from compiler.pipeline import compile_file
from isa.config import load_config

SECONDS, BYTES, CONTEXT = 60, 4 << 30, 16
BATCH = 250  # mutants of one child
_OPERATORS = sorted(
    SUPPORTED | {"Shape", "Cos", "Not", "And", "Less", "Loop", "If", "TopK", "Conv"}
)
_TYPES = [*helper.get_all_tensor_dtypes(), 0, 99]
_SIZES = [0, 1, 2, 7, 65537, 1 << 40, -1]
Change = Callable[[onnx.ModelProto, random.Random], None]


def _node(model: onnx.ModelProto, dice: random.Random) -> onnx.NodeProto:
    return dice.choice(model.graph.node)


def _input(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    names = ["", "nowhere", *(name for other in model.graph.node for name in other.output)]
    names += [value.name for value in (*model.graph.input, *model.graph.initializer)]
    if node.input:
        node.input[dice.randrange(len(node.input))] = dice.choice(names)


def _more_inputs(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    if dice.random() < 0.5 and node.input:
        del node.input[dice.randrange(len(node.input)) :]
    else:
        node.input.append(dice.choice(_node(model, dice).output))


def _order(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    shuffled = dice.sample(list(node.input), len(node.input))
    del node.input[:]
    node.input.extend(shuffled)


def _output(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    if dice.random() < 0.5:
        del node.output[dice.randrange(len(node.output)) :]
    else:
        node.output[0] = dice.choice(_node(model, dice).output or ["x"])


def _remove(model: onnx.ModelProto, dice: random.Random) -> None:
    group = dice.choice([model.graph.node, model.graph.initializer, model.graph.input])
    if group:
        del group[dice.randrange(len(group))]


def _move(model: onnx.ModelProto, dice: random.Random) -> None:
    nodes = list(model.graph.node)
    node = nodes.pop(dice.randrange(len(nodes)))
    nodes.insert(dice.randrange(len(nodes) + 1), node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _operator(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    node.op_type = dice.choice(_OPERATORS)
    if dice.random() < 0.1:
        node.domain = dice.choice(["com.microsoft", "elsewhere", ""])


def _attribute(model: onnx.ModelProto, dice: random.Random) -> None:
    with_some = [node for node in model.graph.node if node.attribute]
    if not with_some:
        return
    node = dice.choice(with_some)
    place = dice.randrange(len(node.attribute))
    if dice.random() < 0.3:
        del node.attribute[place]
        return
    name = node.attribute[place].name
    value = dice.choice([0, 1, -1, 5, 1 << 40, 0.5, float("nan"), "text", [1, 2], [7.0], [-1, 1]])
    node.attribute[place].CopyFrom(helper.make_attribute(name, value))


def _tensor(model: onnx.ModelProto, dice: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = dice.choice(model.graph.initializer)
    change = dice.choice(["dims", "type", "less", "values"])
    if change == "dims" and tensor.dims:
        tensor.dims[dice.randrange(len(tensor.dims))] = dice.choice(_SIZES)
    elif change == "type":
        tensor.data_type = dice.choice(_TYPES)
    elif change == "less":
        tensor.raw_data = tensor.raw_data[: dice.randrange(len(tensor.raw_data) + 1)]
    elif tensor.data_location != TensorProto.EXTERNAL:
        values = numpy_helper.to_array(tensor).copy().reshape(-1)
        if values.size:
            worst = np.nan if values.dtype.kind == "f" else dice.choice([-1, 0, 1 << 30])
            with np.errstate(all="ignore"):
                values[dice.randrange(values.size)] = np.array(worst).astype(values.dtype)
            whole = values.reshape(tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(whole, tensor.name))


def _value(model: onnx.ModelProto, dice: random.Random) -> None:
    value = dice.choice([*model.graph.input, *model.graph.output])
    kind = value.type.tensor_type
    if dice.random() < 0.3:
        kind.elem_type = dice.choice(_TYPES)
    elif kind.shape.dim:
        dim = dice.choice(kind.shape.dim)
        if dice.random() < 0.5:
            dim.dim_value = dice.choice(_SIZES)
        else:
            dim.dim_param = dice.choice(["a", "batch_size", "sequence_length", ""])


def _opset(model: onnx.ModelProto, dice: random.Random) -> None:
    model.opset_import[0].version = dice.choice([0, 1, 7, 13, 17, 18, 20, 21, 23, 24, 99, -1])
    if dice.random() < 0.2:
        model.ir_version = dice.choice([0, 3, 9, 99])


CHANGES: tuple[Change, ...] = (
    *(_input, _more_inputs, _order, _output, _remove, _move),
    *(_operator, _attribute, _tensor, _value, _opset),
)


def _bytes(data: bytes, dice: random.Random) -> bytes:
    """Bytes changed, cut out, doubled; mostly near the file's ends, where the graph is."""
    found = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        place = min(int(len(found) * dice.random() ** 2), len(found) - 1)
        place = place if dice.random() < 0.5 else len(found) - 1 - place
        change = dice.choice(["set", "flip", "cut", "double"])
        if change == "set":
            found[place] = dice.randrange(256)
        elif change == "flip":
            found[place] ^= 1 << dice.randrange(8)
        elif change == "cut":
            del found[place : place + dice.randint(1, 9)]
        else:
            found[place:place] = found[place : place + dice.randint(1, 40)]
    return bytes(found)


def mutant(data: bytes, seed: int) -> tuple[str, bytes]:
    """What was done, and the damaged file."""
    dice = random.Random(seed)
    if dice.random() < 0.2:
        return "bytes", _bytes(data, dice)
    model = onnx.ModelProto.FromString(data)
    chosen = dice.sample(CHANGES, dice.choice([1, 1, 1, 2]))
    for change in chosen:
        if model.graph.node:
            change(model, dice)
    return ", ".join(change.__name__.strip("_") for change in chosen), model.SerializeToString()


def verdict(data: bytes, folder: Path) -> str:
    """ "compiled", "refused", or what went wrong."""
    path = folder / "mutant.onnx"
    path.write_bytes(data)
    try:
        compile_file(path, load_config("tiny"), CONTEXT)
    except CompileError as error:
        return "refused" if "\n" not in str(error) else f"several lines: {error}"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "compiler" in f.filename]
        return f"{type(error).__name__}: {str(error)[:200]!r} at {' '.join(where[-3:])}"
    return "compiled"


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} seconds")


def _child(data: bytes, seeds: range, pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    signal.signal(signal.SIGALRM, _too_long)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries talk
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            what, damaged = mutant(data, seed)
            signal.alarm(SECONDS)
            found = verdict(damaged, Path(folder))
            signal.alarm(0)
            pipe.send((seed, what, found))


def results(data: bytes, seeds: range) -> Iterator[tuple[int, str, str]]:
    """(seed, change, verdict) of mutants, each batch in a child process of its own."""
    context = multiprocessing.get_context("fork")
    first = seeds.start
    while first < seeds.stop:
        mine, other = context.Pipe(duplex=False)
        batch = range(first, min(first + BATCH, seeds.stop))
        child = context.Process(target=_child, args=(data, batch, other))
        child.start()
        other.close()
        try:
            while True:
                found = mine.recv()
                first = found[0] + 1
                yield found
        except EOFError:
            child.join()
        if first < batch.stop:
            yield first, mutant(data, first)[0], f"crash: exit status {child.exitcode}"
            first += 1


def _share(task: tuple[Path, range]) -> list[tuple[Path, int, str, str]]:
    path, seeds = task
    return [(path, *found) for found in results(onnx.load(path).SerializeToString(), seeds)]


def main() -> int:
    """Command line."""
    plain = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--mutants", type=int, default=1000, help="of all models together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    each, start = -(-options.mutants // len(options.models)), options.seed << 32
    tasks = [
        (path, range(start + i, start + min(i + BATCH, each)))
        for i in range(0, each, BATCH)
        for path in options.models
    ]
    counts, began = Counter[str](), time.monotonic()
    with ThreadPool(options.jobs) as pool:
        for done, found in enumerate(pool.imap_unordered(_share, tasks), 1):
            for path, seed, what, result in found:
                good = result in ("compiled", "refused")
                counts[result if good else "failed"] += 1
                if not good:
                    print(f"{path}, mutant {seed} ({what}): {result}", flush=True)
            if done % 20 == 0 or done == len(tasks):
                print(f"{dict(counts)} in {time.monotonic() - began:.0f} s", flush=True)
    return int(counts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
