"""jcc's command line: what it writes, and one line for every mistake."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler import cli
from isa.assembler import assemble_file
from isa.config import PRESETS
from isa.image import load_image
from tests.compiler.decoder import decoder
from tests.compiler.models import model_path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, with a model and things that are none."""
    monkeypatch.chdir(tmp_path)
    onnx.save(decoder(), "model.onnx")
    Path("text.onnx").write_text("Once upon a time")
    Path("ids.txt").write_text("3 1 4 1 5 9 2 6 5 3 5 8\n")
    Path("cut.onnx").write_bytes(Path("model.onnx").read_bytes()[:2000])
    Path("empty.onnx").write_bytes(b"")
    onnx.save(decoder(feature="x = Elu(embedded)"), "elu.onnx")
    shutil.copy(model_path("stories260k/dynamo_op20"), "lonely.onnx")
    batch = decoder()
    for value in batch.graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = "B"
    onnx.save(batch, "batch.onnx")
    tiny = (PRESETS / "tiny.toml").read_text()
    Path("less.toml").write_text(tiny.replace("sram_bytes = 524288", "sram_bytes = 4096"))
    simple = tiny.replace('hbm = "hbm3"', "memory_bytes = 1048576")
    Path("short.toml").write_text(simple)
    Path("whole.toml").write_text(tiny + 'element = "int8"\n')
    Path("odd.toml").write_text(tiny.replace("rows = 8", "rows = 12", 1))
    Path("part.toml").write_text("rows = 8\ncols = 8\n")
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit status of `jcc ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["jcc", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_writes_an_image_and_a_listing(folder, monkeypatch, capsys):
    arguments = ["-o", "out.jx", "--config", "small", "--max-context", "40", "--listing", "out.s"]
    assert call(monkeypatch, "model.onnx", *arguments) == 0
    assert "configuration small" in capsys.readouterr().err
    image = load_image("out.jx")
    assert (image.config.name, image.io.max_context) == ("small", 40)
    assert "(MatMul)" in Path("out.s").read_text()  # ONNX nodes stand beside their instructions
    assert assemble_file("out.s").ops() == image.ops()


def test_the_context_comes_from_config_json(folder, monkeypatch):
    Path("config.json").write_text('{"max_position_embeddings": 24}')
    assert call(monkeypatch, "-q", "model.onnx") == 0
    assert load_image("model.jx").io.max_context == 24
    Path("config.json").write_text("{}")
    assert call(monkeypatch, "-q", "model.onnx") == 0
    assert load_image("model.jx").io.max_context == 512


def test_calibrates_an_int8_cache(folder, monkeypatch):
    assert call(monkeypatch, "-q", "model.onnx", "--kv", "int8", "--calibrate", "ids.txt") == 0
    caches = load_image("model.jx").io.of_kind("kv")
    assert [(cache.dtype, len(cache.scales)) for cache in caches] == [("i8", 2)] * 2


@pytest.mark.parametrize(
    ("arguments", "context"),
    [
        ("--max T=40", 40), ("--max S=7", 7), ("--max P=30", 31), ("--max P=30 --max T=20", 20),
        ("--bind S=9 --max-context 8", 8), ("--max P=0", 1),
    ],
)  # fmt: skip
def test_axes_bound_the_context(folder, monkeypatch, arguments: str, context: int):
    assert call(monkeypatch, "-q", "model.onnx", *arguments.split()) == 0
    assert load_image("model.jx").io.max_context == context
    assert call(monkeypatch, "-q", "batch.onnx", "--bind", "B=1", *arguments.split()) == 0
    assert load_image("batch.jx").io.max_context == context


def test_the_same_model_gives_the_same_file(folder, monkeypatch):
    for name in ("one.jx", "two.jx"):
        assert call(monkeypatch, "-q", "model.onnx", "-o", name) == 0
    np.testing.assert_array_equal(np.fromfile("one.jx", np.uint8), np.fromfile("two.jx", np.uint8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("none.onnx", "none.onnx: cannot be read: No such file"),
        ("text.onnx", "text.onnx: not an ONNX file, or a truncated one"),
        ("cut.onnx", "cut.onnx: not an ONNX file, or a truncated one"),
        ("empty.onnx", "empty.onnx: not an ONNX file, or a truncated one"),
        ("lonely.onnx", "lonely.onnx: the external data file "),
        ("model.onnx --config whole.toml",
         "model.onnx: node \"q_flat\" (MatMul): the array of 'whole' multiplies int8 values, not "),
        ("model.onnx --activations int4",
         "--activations int4: want [PATTERN=]FORMAT, FORMAT one of bf16, fp8, fp8-static, int8, i"),
        ("model.onnx --activations int8-static --no-weights --calibrate ids.txt",
         "--calibrate is for --kv int8, static --activations and programs with weights, not --no"),
        ("model.onnx --static --activations int8", "--static computes in bf16: it has no format"),
        ("elu.onnx", "elu.onnx: unsupported operators: Elu ("),
        ("model.onnx --config less.toml",
         "model.onnx: one token with a context of 512 needs more than the 4096 bytes of SRAM"),
        ("model.onnx --config less.toml --max-context 8",
         "model.onnx: one token with a context of 8 needs more than the 4096 bytes of SRAM"),
        ("model.onnx --max-context 99999 --config short.toml",
         "model.onnx: the KV cache of 99999 tokens takes 12799872 bytes, more than the 1048576 of"),
        ("model.onnx --tile 48", "model.onnx: --tile 48: want a power of two from 32 on"),
        ("model.onnx --config none.toml", "none.toml: no such configuration file"),
        ("model.onnx --config odd.toml",
         "odd.toml: configuration 'odd': rows must be a power of two, not 12"),
        ("model.onnx --config part.toml", "part.toml: missing fields lanes, line_bytes, sram_"),
        ("model.onnx --config model.onnx", "model.onnx: not a TOML configuration"),
        ("model.onnx -o no/where.jx", "no/where.jx: No such file or directory"),
        ("model.onnx --listing no/where.s", "no/where.s: No such file or directory"),
        ("model.onnx --weights int3",
         "--weights int3: want [PATTERN=]FORMAT, FORMAT one of fp8, int8, int4, bf16, mxfp8, mxf"),
        ("model.onnx --report out.txt", "out.txt: a report ends in .html or .json"),
        ("model.onnx --max P", "--max P: want AXIS=N, N a number"),
        ("model.onnx --bind T=x", "--bind T=x: want AXIS=N, N a number"),
        ("model.onnx --max tokens=3",
         "model.onnx: no axis is named 'tokens'; it has S (new), T (total), P (past)"),
        ("model.onnx --max S=0", "model.onnx: 'S' must be at least 1, not 0"),
        ("batch.onnx --bind B=4", "batch.onnx: 4 sequences along 'B': a program takes one; run "),
        ("model.onnx --kv int4", "--kv int4: want one of bf16, fp8, int8"),
        ("model.onnx --kv int8",
         "model.onnx: --kv int8: the scales of the cache are found by running the model; give it "
         "typical token ids with --calibrate FILE"),
        ("model.onnx --calibrate ids.txt",
         "--calibrate is for --kv int8, static --activations and programs with weights, not --kv "),
        ("model.onnx --kv int8 --no-weights --calibrate ids.txt",
         "--calibrate is for --kv int8, static --activations and programs with weights, not --no"),
        ("model.onnx --kv int8 --calibrate text.onnx", "text.onnx: want token ids: integers of 0 "),
        ("model.onnx --kv int8 --calibrate none.txt", "none.txt: cannot be read: No such file"),
        ("model.onnx --weights =fp8", "--weights =fp8: want [PATTERN=]FORMAT"),
        ("model.onnx --weights nothing*=fp8",
         "model.onnx: --weights: no product with weights is named nothing*"),
        ("model.onnx --max-context 0", "Invalid value for '--max-context'"),
        ("model.onnx --fast", "No such option"),
        ("", "Missing argument 'model'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(folder, monkeypatch, capsys, arguments: str, message: str):
    before = sorted(os.listdir())
    assert call(monkeypatch, "-q", *arguments.split()) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith(f"jcc: error: {message}")
    assert sorted(os.listdir()) == before


def test_help_has_examples(folder, monkeypatch, capsys):
    assert call(monkeypatch, "--help") == 0
    assert "jcc model.onnx -o out.jx --config small" in capsys.readouterr().out
