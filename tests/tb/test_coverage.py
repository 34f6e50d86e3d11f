"""Functional coverage: declaring, hitting, merging the files of many processes, the report."""

import json
from pathlib import Path

import pytest

from tb.coverage import FOLDER, Coverage, from_json, read_folder, report, to_json


def _types() -> Coverage:
    cover = Coverage("vector")
    cover.point("types", {"dt": ["f32", "bf16"], "at": ["f32", "acc"]})
    cover.point("waits", {"n": range(3)}, waive={(2,): "never issued"})
    return cover


def test_every_combination_is_a_bin() -> None:
    cover = _types()
    cover.hit("types", dt="bf16", at="acc")
    cover.hit("types", "f32", "f32")
    cover.hit("waits", 0)
    assert cover.points["types"].missing() == [("f32", "acc"), ("bf16", "f32")]
    assert cover.points["waits"].missing() == [("1",)]


def test_wildcard_waives_a_whole_plane() -> None:
    cover = Coverage("unit")
    cover.point("p", {"a": "xy", "b": "uvw"}, waive={("x", "*"): "no x here"})
    assert cover.points["p"].missing() == [("y", "u"), ("y", "v"), ("y", "w")]


@pytest.mark.parametrize(
    ("values", "axes"),
    [(("f64", "acc"), {}), (("f32",), {}), ((), {"dt": "f32"}), ((), {"dt": "f32", "to": "acc"}),
     (("f32", "acc", "acc"), {}), (("f32", "acc"), {"to": "f32"})],
)  # fmt: skip
def test_unknown_bins_are_refused(values: tuple, axes: dict) -> None:
    with pytest.raises(ValueError, match=r"^coverage of vector: point 'types' has no bin .*"):
        _types().hit("types", *values, **axes)


def test_bad_declarations_are_refused() -> None:
    cover = _types()
    with pytest.raises(ValueError, match=r"^coverage of vector: point 'waits' is declared twice$"):
        cover.point("waits", {"n": range(3)})
    with pytest.raises(ValueError, match=r"axis 'n' must have different values, not \['1', '1'\]$"):
        cover.point("again", {"n": [1, "1"]})
    with pytest.raises(ValueError, match=r"a waiver must name bins and a reason, not \(7,\): 'x'$"):
        cover.point("other", {"n": range(3)}, waive={(7,): "x"})
    with pytest.raises(ValueError, match=r"a waiver must name bins and a reason, not \(1,\): ''$"):
        cover.point("third", {"n": range(3)}, waive={(1,): ""})


def test_files_of_all_processes_are_added(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    for dt in ("f32", "bf16", "bf16"):
        cover = _types()
        cover.hit("types", dt=dt, at="acc")
        cover.save()
    (merged,) = read_folder(tmp_path)
    assert merged.points["types"].hits == {("f32", "acc"): 1, ("bf16", "acc"): 2}
    (again,) = from_json(json.loads(json.dumps(to_json([merged]))))
    assert again.points == merged.points


def test_without_a_run_nothing_is_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    _types().save()
    assert not list(tmp_path.iterdir())


def test_two_declarations_of_a_point_do_not_merge(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    for values in ("ab", "abc"):
        cover = Coverage("unit")
        cover.point("p", {"x": values})
        cover.save()
    with pytest.raises(ValueError, match=r"^coverage of unit: point 'p' is declared in two ways$"):
        read_folder(tmp_path)


def test_report_names_every_bin_not_hit() -> None:
    cover = _types()
    cover.hit("types", "f32", "f32")
    lines = report([cover])
    assert lines[1].split() == ["vector", "2", "7", "1", "1", "5"]
    assert "not hit: vector.types: dt=bf16 at=acc" in lines
    assert "waived: vector.waits: n=2: never issued" in lines
    assert sum(line.startswith("not hit") for line in lines) == 5
