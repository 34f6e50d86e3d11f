"""What a sweep's file says, and what is said of files that are wrong."""

import pytest

from isa.config import load_config
from isa.image import save_image
from sim.sweep.points import points_of
from sim.sweep.programs import check_image_fits
from sim.sweep.spec import read_sweep
from sim.sweep.values import SweepError
from tests.sim.sweeps import MATMUL, MODEL, model, program, sweep, written


def test_a_grid_is_the_product_of_its_axes(tmp_path):
    text = """
        [[together]]
        rows = [4, 8, 16]
        cols = [8, 8, 16]
        [fields]
        sram_bytes = { from = 65536, to = 300000, times = 2 }
        load_bursts = { from = 1, to = 7, step = 3 }
        hbm = ["hbm3", ""]
    """
    found = read_sweep(written(tmp_path, text + model("prefill = [3, 5]\ndecode = [7]")))
    assert len(found) == 3 * 3 * 3 * 2 * 3
    points = list(points_of(found))
    assert len({point.key for point in points}) == len(points) == len(found)
    assert {point.fields["sram_bytes"] for point in points} == {65536, 131072, 262144}
    assert {point.fields["load_bursts"] for point in points} == {1, 4, 7}
    shapes = {(point.fields["rows"], point.fields["cols"]) for point in points}
    assert shapes == {(4, 8), (8, 8), (16, 16)}
    assert {str(point.launch) for point in points} == {"prefill 3", "prefill 5", "decode at 7"}
    assert found.told_apart_by == ["rows", "cols", "sram_bytes", "load_bursts", "hbm"]


def test_a_point_is_the_chip_that_its_command_names(tmp_path):
    text = "[fields]\nacc_rows = [512, 256]\n" + program()
    for point in points_of(read_sweep(written(tmp_path, text, "tiny,queue_depth=8"))):
        assert load_config(point.chip) == point.config
        assert point.config.acc_rows == point.fields["acc_rows"]
        assert point.config.queue_depth == 8
        assert f"--config {point.chip}" in point.command


def test_chips_with_another_memory_share_a_program(tmp_path):
    text = '[fields]\nhbm = ["hbm3", "hbm4"]\nhbm_depth = [16, 64]\nacc_rows = [512, 256]\n'
    points = list(points_of(read_sweep(written(tmp_path, text + model("decode = [7, 9]")))))
    assert len({point.program_key for point in points}) == 2
    assert len({point.key for point in points}) == 16


def test_a_chip_that_cannot_exist_is_a_point_with_a_reason(tmp_path):
    text = "[fields]\nlanes = [8, 16]\n" + program()
    good, bad = points_of(read_sweep(written(tmp_path, text)))
    assert good.config is not None
    assert bad.config is None
    assert bad.reason == "lanes must be a divisor of cols (8), not 16"


def test_what_a_program_says_decides_its_key(tmp_path):
    source = tmp_path / "own.s"
    source.write_text(MATMUL.read_text())
    path = written(tmp_path, program(source))
    (before,) = points_of(read_sweep(path))
    source.write_text(MATMUL.read_text().replace("m=1, k=1, n=1 ", "m=1, k=2, n=1 "))
    (after,) = points_of(read_sweep(path))
    assert before.key != after.key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[fields]\nrow = [4]", "fields: unknown field 'row', did you mean 'rows'?"),
        ("[fields]\nspeed = [4]", "fields: unknown field 'speed', expected one of rows, cols"),
        ("[field]\nrows = [4]", "unknown field 'field', did you mean 'fields'?"),
        ("[fields]\nrows = []", "fields.rows has no values: the grid is empty"),
        ("[fields]\nrows = {from = 8, to = 4}", "fields.rows has no values: the grid is empty"),
        ("[fields]\nrows = {from = 4, to = 8, times = 1}", "fields.rows must grow: step"),
        ("[fields]\nrows = {from = 4}", "fields.rows must be a list, or have from, to, and step"),
        ("[fields]\nrows = {from = 4, until = 8}", "fields.rows: unknown field 'until', expected"),
        ("[fields]\nrows = 4", "fields.rows must be a table, not 4"),
        ('[fields]\nrows = ["4"]', "fields.rows must have integers, not '4'"),
        ("[fields]\nrows = [true]", "fields.rows must have integers, not True"),
        ("[fields]\nhbm = [3]", "fields.hbm must have texts without commas, not 3"),
        ("[fields]\nhbm = 'hbm3'", "fields.hbm must be a list of texts, not 'hbm3'"),
        ("[fields]\nrows = [4]\n[[together]]\nrows = [4]", "field 'rows' has two axes"),
        ("[[together]]\nrows = [4, 8]\ncols = [4]", "together: fields must have equally many "
         "values, not rows 2, cols 1"),
        ("[together]\nrows = [4, 8]", "together must be written [[together]]"),
        ("rows = 3", "unknown field 'rows', expected one of config, fields, together, program"),
        ("[fields", "not a TOML file of a sweep: "),
    ],
)  # fmt: skip
def test_wrong_axes(tmp_path, text, message):
    path = written(tmp_path, text + "\n" + program())
    with pytest.raises(SweepError) as caught:
        read_sweep(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no [[program]]: the grid is empty"),
        ("[[program]]\nprefill = [3]", "program.file must name an .onnx, .jx or .s file, not None"),
        ("[[program]]\nfile = 'none.s'", "program {folder}/none.s: no such file"),
        ("[[program]]\nfile = 'sweep.toml'", "program {folder}/sweep.toml: must end in .onnx, "),
        (program(rest="prefill = [3]"), "program.prefill is for models: this one runs once"),
        (program(rest="kv = 'fp8'"), "program.kv is for .onnx files: a program is compiled alr"),
        (program(MODEL), "program needs prefill (tokens) or decode (tokens before it)"),
        (model("prefill = [0]"), "program: prefill and decode must be at least 1"),
        (model("prefil = [3]"), "program: unknown field 'prefil', did you mean 'prefill'?"),
        (model("decode = [3]\nweights = 'fp8'"), "program.weights must be a list of texts, not"),
        (model("decode = [3]\ntile = '8'"), "program.tile must be of type int, not '8'"),
        (program(rest="name = 3"), "program.name must be a text, not 3"),
        (program() + program(), "two programs are named 'matmul': give them names"),
    ],
)  # fmt: skip
def test_wrong_programs(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(SweepError) as caught:
        read_sweep(path)
    assert str(caught.value).startswith(f"{path}: {message.format(folder=tmp_path)}")


def test_wrong_chips(tmp_path):
    with pytest.raises(SweepError, match=r"sweep.toml: config: .*none: no such configuration"):
        read_sweep(written(tmp_path, program(), "none"))
    path = tmp_path / "none.toml"
    with pytest.raises(SweepError, match=f"{path}: no such file"):
        read_sweep(path)


def test_an_image_is_for_one_chip(tmp_path):
    from isa.assembler import assemble_file

    save_image(assemble_file(MATMUL), tmp_path / "m.jx")
    with pytest.raises(SweepError, match=r"m.jx: acc_rows varies, but a program image is made"):
        sweep(written(tmp_path, "[fields]\nacc_rows = [512]\n" + program(tmp_path / "m.jx")))
    with pytest.raises(ValueError, match=r"m.jx: made for configuration 'tiny' \(\w+\), not for"):
        sweep(written(tmp_path, program(tmp_path / "m.jx"), "small"))
    path = written(tmp_path, '[fields]\nhbm = ["hbm3"]\n' + program(tmp_path / "m.jx"))
    found = read_sweep(path)
    check_image_fits(found.programs[0], found.config, found.fields)


def test_many_points_need_a_yes(tmp_path):
    text = "[fields]\nhbm_depth = [16]\nmemory_latency_cycles = { from = 1, to = 1000000000 }\n"
    path = written(tmp_path, text + program())
    with pytest.raises(ValueError, match=r"sweep.toml: 1,000,000,000 points: --yes runs so many"):
        sweep(path)
    assert not (tmp_path / "sweep").exists()
