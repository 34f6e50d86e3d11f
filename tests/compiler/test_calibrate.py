"""What calibration refuses: models, ids and files of ids."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.calibrate import read_ids
from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.graph import Graph
from tests.compiler.decoder import decoder
from tests.compiler.quantised import static
from tests.compiler.test_images import image_model
from tests.compiler.test_int8_cache import graph_of, program
from tests.compiler.test_quantised_attention import GRID, PAST


def infinite(graph: Graph) -> Graph:
    """The graph with keys that overflow bf16."""
    name = next(n for n, x in graph.constants.items() if x.shape == (19, 24))
    table = np.full((19, 24), 3e38, np.float32)
    return replace(graph, constants={**graph.constants, name: table})


@pytest.mark.parametrize(
    ("model", "ids", "message"),
    [
        (decoder, (), "model: --kv int8: the scales of the cache are found by running the model"),
        (decoder, (3, 19), "model: --calibrate: 'tokens' must be 0 … 18, not 19"),
        (lambda: static(decoder(), extra_options={"ActivationSymmetric": True}), (1, 2),
         "model: --calibrate: the model itself rounds keys and values: there is nothing to"),
        (lambda: static(decoder(), "uint8"), (1, 2), "the model quantises its attention, but not"),
        (lambda: decoder(GRID, cache=PAST.format("step")), (1, 2),
         r'model: node "heads" \(MatMul\): --kv int8: the model quantises its attention, but not'),
    ],
)  # fmt: skip
def test_refusals(model, ids: tuple[int, ...], message: str) -> None:
    with pytest.raises(CompileError, match=message):
        program(graph_of(model()), ids=ids)


def test_models_without_ids_are_refused() -> None:
    graph = canonicalise(image_model("class token"), None, "model")
    with pytest.raises(CompileError, match="--calibrate: the model takes arrays, 'pixel_values'"):
        program(graph)


def test_ranges_that_are_not_finite_are_refused() -> None:
    with pytest.raises(CompileError, match="--calibrate: keys of layer 0 are not finite"):
        program(infinite(graph_of(decoder())))


def test_files_of_ids(tmp_path: Path) -> None:
    text, array, row = (tmp_path / name for name in ("ids.txt", "ids.npy", "row.npy"))
    text.write_text("3 1\n4\t1 5\n")
    np.save(array, np.array([3, 1, 4, 1, 5], np.int32))
    np.save(row, np.array([[3, 1, 4, 1, 5]]))
    assert [read_ids(path) for path in (text, array, row)] == [(3, 1, 4, 1, 5)] * 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b""), ("a.txt", b"1 2 x"), ("a.txt", b"1 -2"), ("a.txt", b"\xff\xfe"),
        ("a.txt", b"1.5"), ("a.txt", b"9" * 30), ("a.npy", b"1 2 3"), ("a.npy", b""),
        ("a.npy", np.ones(3)), ("a.npy", np.ones((2, 3), int)), ("a.npy", np.array(["1"], object)),
    ],
)  # fmt: skip
def test_files_that_hold_no_ids(tmp_path: Path, name: str, content) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.\w+: want token ids: integers of 0 or more"):
        read_ids(path)


def test_no_file_of_ids(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.npy: cannot be read: No such file"):
        read_ids(tmp_path / "none.npy")
