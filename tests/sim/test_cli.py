"""The command line: results, messages, exit status, no partial files."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isa.config import load_config
from isa.image import ProgramImage, load_image, save_image
from isa.program import Op
from sim import cli
from tests.sim.echo import cache_table, echo_image, logits_table
from tests.sim.test_generate import chain, words

PROGRAM = ".u32 0 1 2 3 4 5 6 7 8\nload hbm=0, sram=64, rows=1, bytes=32\nhalt\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, with an image of a model and a text."""
    monkeypatch.chdir(tmp_path)
    save_image(echo_image(), "model.jx")
    words().save("tokenizer.json")
    Path("program.s").write_text(PROGRAM)
    np.savez(
        "in.npz",
        **{
            "input_ids": np.int64([[3, 4]]),
            "attention_mask": np.ones((1, 2), np.int64),
            "position_ids": np.int64([[0, 1]]),
            "past.0": np.zeros((1, 2, 0, 4), np.float32),
        },
    )
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit status of `jalapeno ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["jalapeno", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_run(folder: Path, monkeypatch, capsys):
    assert call(monkeypatch, "run", "model.jx", "--inputs", "in.npz", "--outputs", "out.npz") == 0
    with np.load("out.npz") as outputs:
        assert np.array_equal(outputs["logits"][0], logits_table()[[3, 4]])
        assert np.array_equal(outputs["present.0"][0], cache_table()[[3, 4]].transpose(1, 0, 2))
    captured = capsys.readouterr()
    assert "load_lines" in captured.err
    assert captured.out == ""


def test_run_of_a_program_without_a_model(folder: Path, monkeypatch):
    assert call(monkeypatch, "asm", "program.s", "-o", "program.jx") == 0
    assert call(monkeypatch, "run", "program.jx", "--outputs", "state.npz") == 0
    with np.load("state.npz") as state:
        assert state["sram"][64:96].view(np.uint32).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
        assert set(state) == {"hbm", "sram", "acc"}


def test_generate(folder: Path, monkeypatch, capsys):
    arguments = ["--tokenizer", "tokenizer.json", "--prompt", "w1 w2", "--tokens", "3"]
    assert call(monkeypatch, "generate", "model.jx", *arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == " ".join(f"w{t}" for t in [1, 2, *chain(2, 3)]) + "\n"
    assert "5 tokens in " in captured.err


def test_an_encoder_writes_no_text(folder: Path, monkeypatch, capsys):
    image = echo_image()
    save_image(replace(image, io=replace(image.io, causal=False)), "encoder.jx")
    arguments = ["--tokenizer", "tokenizer.json", "--prompt", "w1"]
    assert call(monkeypatch, "generate", "encoder.jx", *arguments) == 1
    captured = capsys.readouterr()
    assert "encoder.jx: the program is an encoder's: it writes no text" in captured.err


def test_check(folder: Path, monkeypatch, capsys):
    assert call(monkeypatch, "asm", "program.s", "-o", "program.jx") == 0
    assert call(monkeypatch, "check", "program.jx") == 0
    assert "commands checked, no fault" in capsys.readouterr().err


def test_asm_and_disasm(folder: Path, monkeypatch, capsys):
    assert call(monkeypatch, "asm", "program.s", "-o", "small.jx", "--config", "small") == 0
    assert load_image("small.jx").config.name == "small"
    assert call(monkeypatch, "disasm", "small.jx") == 0
    text = capsys.readouterr().out
    assert text.startswith(".config small\n.code 0x40\n    load sram=0x40, rows=1, bytes=32\n")
    assert call(monkeypatch, "disasm", "small.jx", "-o", "again.s") == 0
    assert Path("again.s").read_text() == text
    assert call(monkeypatch, "asm", "again.s", "-o", "again.jx") == 0
    assert load_image("again.jx").code == load_image("small.jx").code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run none.jx --inputs in.npz", "none.jx: no such file"),
        ("run program.s --inputs in.npz",
         "program.s: not a program image (jcc and `jalapeno asm` write them)"),
        ("run model.jx", "model.jx: a model needs --inputs IN.npz"),
        ("run model.jx --inputs none.npz --outputs out.npz", "none.npz: no such file"),
        ("run model.jx --inputs program.s --outputs out.npz", "program.s: not an .npz of plain "),
        ("run model.jx --inputs one.npy --outputs out.npz",
         "one.npy: expected an .npz with named arrays, not a single array"),
        ("run model.jx --inputs in.npz --backend gpu",
         "back end must be one of functional, rtl, cycle, not 'gpu'"),
        ("run model.jx --inputs in.npz --outputs no/where/out.npz",
         "no/where/out.npz: No such file or directory"),
        ("run model.jx --inputs in.npz --config small",
         "model.jx: made for configuration 'tiny' ("),
        ("run model.jx --inputs in.npz --trace out.vcd",
         "--trace needs --backend rtl: the others have no signals"),
        ("verify model.jx --prompt w1", "--prompt and --tokenizer go together"),
        ("check unsafe.jx",
         "instruction 1 (vmov): reads sram 0x0 with no semaphore after instruction 0 (load)"),
        ("generate model.jx --tokenizer none.json --prompt x", "none.json: No such file"),
        ("generate model.jx --tokenizer program.s --prompt x",
         "program.s: not a tokenizer.json: "),
        ("generate model.jx --tokenizer tokenizer.json --prompt " + "w1," * 20,
         "the prompt has 20 tokens, the program's context 16: "),
        ("generate model.jx --tokenizer tokenizer.json --prompt w1 --prompt w2",
         "model.jx: several --prompt need a program compiled with --slots"),
        ("asm none.s -o out.jx", "none.s: no such file"),
        ("asm bad.s -o out.jx", "bad.s line 2: unknown instruction 'hlat'"),
        ("asm program.s -o out.jx --config none", "none: no such configuration file"),
        ("asm program.s", "Missing option '-"),
        ("verilog --config none -o out", "none: no such configuration file"),
        ("run", "Missing argument 'image'."),
        ("fly", "No such command 'fly'."),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(folder: Path, monkeypatch, capsys, arguments: str, message: str):
    np.save("one.npy", np.zeros(3))
    Path("bad.s").write_text("halt\nhlat\n")
    race = [Op("load", {"rows": 1, "bytes": 32}), Op("vmov", {"dst": 64, "rows": 1, "cols": 8})]
    save_image(ProgramImage.from_ops(load_config("tiny"), [*race, Op("halt")]), "unsafe.jx")
    before = sorted(os.listdir())
    words_of = [word.replace(",", " ") for word in arguments.split()]
    assert call(monkeypatch, *words_of) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("jalapeno: error: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"jalapeno: error: {message}")
    assert "Traceback" not in captured.err
    assert sorted(os.listdir()) == before


def test_help_has_examples_and_starts_fast(folder: Path, monkeypatch, capsys):
    for command in ("run", "generate", "verify", "check", "asm", "disasm", "verilog"):
        assert call(monkeypatch, command, "--help") == 0
        assert f"Example: jalapeno {command}" in capsys.readouterr().out
    script = "import sys, sim.cli; print('numpy' in sys.modules, 'amaranth' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                            check=True, cwd=Path(__file__).parents[2])  # fmt: skip
    assert result.stdout == "False False\n"


def test_a_reader_that_leaves_is_no_error(folder: Path):
    root = Path(__file__).parents[2]
    command = f"'{sys.executable}' -m sim.cli disasm '{folder}/model.jx' | head -1"
    result = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=root, check=True
    )
    assert result.stdout == ".config tiny\n"
    assert "Traceback" not in result.stderr
