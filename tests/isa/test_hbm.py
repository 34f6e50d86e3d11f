"""HBM generations: their figures, and what is refused in which words."""

import dataclasses
import re
import tomllib
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest

from isa.hbm import (
    BANKS,
    BURST_CYCLES,
    COLUMNS,
    GENERATIONS,
    PRESETS,
    HbmGeneration,
    HbmTiming,
    load_generation,
)

HBM3 = load_generation("hbm3")
FIELDS = tuple(field.name for field in dataclasses.fields(HbmTiming))

# Nanoseconds of DRAMsim3's HBM2_8Gb_x128.ini, and what is set otherwise (see hbm2e.toml).
HBM2_NS = {
    "cl": 14, "cwl": 4, "rcd_rd": 14, "rcd_wr": 14, "rp": 14, "ras": 34, "rc": 48, "wr": 16,
    "rtp": 6, "ccd_l": 2, "rrd_s": 4, "rrd_l": 6, "faw": 30, "wtr_s": 6, "wtr_l": 8,
    "rfc_ab": 350, "rfc_pb": 160, "rrefd": 8,
}  # fmt: skip
# Cycles of Ramulator 2's HBM3_6400Mbps and HBM4_8000Mbps.
HBM3_CYCLES = {
    "cl": 20, "cwl": 10, "rcd_rd": 31, "rcd_wr": 15, "rp": 26, "ras": 45, "rc": 72, "wr": 33,
    "rtp": 9, "ccd_s": 2, "ccd_l": 4, "rrd_s": 4, "rrd_l": 5, "faw": 24, "wtr_s": 7, "wtr_l": 10,
    "rtw": 20, "rfc_pb": 320, "rrefd": 8, "refi": 6240,
}  # fmt: skip
HBM4_CYCLES = {
    "cl": 20, "cwl": 10, "rcd_rd": 39, "rcd_wr": 19, "rp": 33, "ras": 57, "rc": 90, "wr": 42,
    "rtp": 12, "ccd_s": 2, "ccd_l": 4, "rrd_s": 5, "rrd_l": 7, "faw": 30, "wtr_s": 9, "wtr_l": 13,
    "rtw": 25, "rfc_pb": 560,
}  # fmt: skip


@pytest.mark.parametrize("name", GENERATIONS)
def test_generations_load_by_name_and_by_path(name: str):
    generation = load_generation(name)
    assert generation.name == name
    assert load_generation(str(PRESETS / f"{name}.toml")) == generation
    assert generation.replace() == generation


@pytest.mark.parametrize("name", GENERATIONS)
def test_every_value_has_its_source_beside_it(name: str):
    for line in (PRESETS / f"{name}.toml").read_text().splitlines():
        if "=" in line.partition("#")[0]:
            assert re.fullmatch(r"\w+ = \d+  # \S.*", line), line


@pytest.mark.parametrize(
    ("name", "gigabytes_per_second", "stack", "mebibytes", "burst_ns"),
    [
        ("hbm2e", 25.6, 409.6, 1024, 1.25),
        ("hbm3", 25.6, 819.2, 512, 1.25),
        ("hbm3e", 38.4, 1228.8, 512, 0.833),
        ("hbm4", 32.0, 2048.0, 512, 1.0),
    ],
)
def test_bandwidth_and_capacity(name, gigabytes_per_second, stack, mebibytes, burst_ns):
    generation = load_generation(name)
    peak = generation.peak_bytes_per_second
    exact = name != "hbm3e"  # whose clock of 416.67 ps is rounded up to 417
    assert peak == pytest.approx(gigabytes_per_second * 1e9, rel=1e-12 if exact else 1e-3)
    assert peak <= gigabytes_per_second * 1e9
    assert peak * generation.pseudo_channels / 1e9 == pytest.approx(stack, rel=1e-3)
    assert generation.bytes == mebibytes << 20
    assert BURST_CYCLES * generation.tck_ns == pytest.approx(burst_ns, rel=2e-3)


def test_values_are_those_of_the_sources():
    for name, cycles in (("hbm3", HBM3_CYCLES), ("hbm4", HBM4_CYCLES)):
        timing = dataclasses.asdict(load_generation(name).timing)
        assert {field: timing[field] for field in cycles} == cycles


@pytest.mark.parametrize(
    ("name", "rfc_ns"), [("hbm2e", 350), ("hbm3", 350), ("hbm3e", 350), ("hbm4", 450)]
)
def test_refresh_takes_its_nanoseconds(name: str, rfc_ns: int):
    generation = load_generation(name)
    timing, tck_ns = generation.timing, generation.tck_ns
    assert rfc_ns <= timing.rfc_ab * tck_ns < rfc_ns + tck_ns
    assert 3900 - tck_ns < timing.refi * tck_ns <= 3900  # a longest time
    assert generation.refresh_fraction == pytest.approx(rfc_ns / 3900, rel=2e-3)
    if name != "hbm3":  # which has Ramulator 2's own figure
        assert 8 <= timing.rrefd * tck_ns < 8 + tck_ns


def test_hbm2e_is_hbm2_in_nanoseconds():
    generation = load_generation("hbm2e")
    for field, value in HBM2_NS.items():
        cycles = getattr(generation.timing, field)
        assert value <= cycles * generation.tck_ns < value + generation.tck_ns, field
    t = generation.timing
    assert (t.ccd_s, t.rtw + t.cwl) == (BURST_CYCLES, t.cl + BURST_CYCLES + 2)


def test_hbm3e_is_hbm3_in_nanoseconds():
    derived = load_generation("hbm3e")
    ratio = Fraction(HBM3.tck_ps, derived.tck_ps)
    for field in set(FIELDS) - {"ccd_s", "rrefd", "refi"}:
        cycles = getattr(HBM3.timing, field)
        assert getattr(derived.timing, field) == ceil(cycles * ratio), field
    assert derived.timing.ccd_s == BURST_CYCLES
    assert (derived.rows, derived.pseudo_channels) == (HBM3.rows, HBM3.pseudo_channels)


@pytest.mark.parametrize("name", GENERATIONS)
def test_streams_reach_the_peak(name: str):
    """Four rows, one in each group, last longer than the activation of the next four."""
    t = load_generation(name).timing
    data = 4 * COLUMNS * BURST_CYCLES
    assert data >= max(t.faw, 4 * t.rrd_s)
    assert 4 * t.ccd_s >= t.ccd_l  # the groups in turn
    assert 3 * data >= t.rc  # the other banks of a group, before the first comes again


@pytest.mark.parametrize("field", [*FIELDS, "tck_ps", "rows", "pseudo_channels"])
@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0, "positive, not 0"),
        (-3, "positive, not -3"),
        (4.0, "an integer, not 4.0"),
        (True, "an integer, not True"),
        ("7", "an integer, not '7'"),
    ],
)
def test_only_positive_integers(field: str, value: object, wanted: str):
    with pytest.raises(ValueError) as caught:
        HBM3.replace(**{field: value})
    assert str(caught.value) == f"HBM generation 'hbm3': {field} must be {wanted}"


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("tck_ps", 99, "between 100 and 10000 picoseconds"),
        ("tck_ps", 10001, "between 100 and 10000 picoseconds"),
        ("rows", 24576, "a power of two"),
        ("rows", 1, "between 2 and 2^20"),
        ("rows", 1 << 21, "between 2 and 2^20"),
        ("pseudo_channels", 24, "a power of two"),
        ("pseudo_channels", 1024, "at most 512"),
        ("rcd_rd", 1, "at least 2 (the cycles of ACT on the row bus)"),
        ("rcd_wr", 1, "at least 2 (the cycles of ACT on the row bus)"),
        ("ras", 30, "at least 31 (rcd_rd: a row stays open until it can be read)"),
        ("rc", 44, "at least 45 (ras)"),
        ("ccd_s", 1, "at least 2 (the cycles of a burst)"),
        ("ccd_l", 1, "at least 2 (ccd_s)"),
        ("rrd_s", 1, "at least 2 (the cycles of ACT on the row bus)"),
        ("rrd_l", 3, "at least 4 (rrd_s)"),
        ("faw", 3, "at least 4 (rrd_s)"),
        ("wtr_l", 6, "at least 7 (wtr_s)"),
        ("rtw", 11, "at least 12 (cl + burst - cwl: the data bus is free of the read)"),
        ("rfc_pb", 71, "at least 72 (rc: a refresh opens and closes a row)"),
        ("rfc_ab", 319, "at least 320 (rfc_pb: all banks take no less than one)"),
        ("refi", 632, "at least 633 (more than rfc_ab + rc: a REFab and one use of a row)"),
    ],
)
def test_impossible_values(field: str, value: int, wanted: str):
    with pytest.raises(ValueError) as caught:
        HBM3.replace(**{field: value})
    assert str(caught.value) == f"HBM generation 'hbm3': {field} must be {wanted}, not {value}"


def test_the_outermost_values_are_possible():
    for field, value in (
        ("tck_ps", 100), ("tck_ps", 10000), ("rows", 2), ("rows", 1 << 20),
        ("pseudo_channels", 1), ("pseudo_channels", 512), ("rcd_rd", 2), ("rcd_wr", 2),
        ("ras", 31), ("rc", 45), ("ccd_s", 2), ("ccd_l", 2), ("rrd_s", 2), ("rrd_l", 4),
        ("faw", 4), ("wtr_s", 1), ("wtr_l", 7), ("rtw", 12), ("rfc_pb", 72), ("rfc_ab", 320),
        ("refi", 633), ("rp", 1), ("wr", 1), ("rtp", 1), ("rrefd", 1),
    ):  # fmt: skip
        changed = HBM3.replace(**{field: value})
        assert getattr(changed.timing if field in FIELDS else changed, field) == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rcd_rd": 46}, "ras must be at least 46 (rcd_rd: a row stays open until it can be read)"),
        ({"rcd_wr": 46},
         "ras must be at least 46 (rcd_wr: a row stays open until it can be written)"),
        ({"ccd_s": 5}, "ccd_l must be at least 5 (ccd_s)"),
        ({"rrd_s": 6}, "rrd_l must be at least 6 (rrd_s)"),
        ({"rrd_s": 25, "rrd_l": 25}, "faw must be at least 25 (rrd_s)"),
        ({"wtr_s": 11}, "wtr_l must be at least 11 (wtr_s)"),
        ({"cl": 29}, "rtw must be at least 21 (cl + burst - cwl: "),
        ({"cwl": 1}, "rtw must be at least 21 (cl + burst - cwl: "),
        ({"rc": 321}, "rfc_pb must be at least 321 (rc: "),
        ({"rfc_pb": 561}, "rfc_ab must be at least 561 (rfc_pb: "),
        ({"rfc_ab": 6240}, "refi must be at least 6313 (more than rfc_ab + rc: "),
        ({"rrefd": 391}, "refi must be at least 6256 (16 REFpb, rrefd apart), not 6240"),
        ({"name": ""}, "name must be a non-empty string, not ''"),
        ({"name": 3}, "name must be a non-empty string, not 3"),
        ({"timing": {}}, "timing must be an HbmTiming, not {}"),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together(changes: dict, message: str):
    name = changes.get("name", "hbm3")
    with pytest.raises(ValueError) as caught:
        HBM3.replace(**changes)
    assert str(caught.value).startswith(f"HBM generation {name!r}: {message}")
    assert "\n" not in str(caught.value)


def test_replace_reaches_both_levels():
    changed = HBM3.replace(name="mine", rows=64, cl=21, timing=load_generation("hbm4").timing)
    assert (changed.name, changed.rows, changed.timing.cl, changed.timing.rp) == (
        "mine",
        64,
        21,
        33,
    )
    assert changed.bytes == BANKS * 64 * 1024
    with pytest.raises(TypeError, match="speed"):
        HBM3.replace(speed=3)


def test_files(tmp_path: Path):
    path = tmp_path / "mine.toml"
    text = (PRESETS / "hbm3.toml").read_text()
    path.write_text(text)
    assert load_generation(str(path)) == HBM3.replace(name="mine")
    path.write_text('name = "yours"\n' + text)
    assert load_generation(str(path)) == HBM3.replace(name="yours")
    own = ", ".join(field.name for field in dataclasses.fields(HbmGeneration))
    for content, message in (
        (text.replace("rc = 72", "rc = 9"), "HBM generation 'mine': rc must be at least 45 (ras), "
         "not 9"),
        ("speed = 3\n" + text, f"unknown field 'speed', expected one of {own}"),
        (text + "cll = 3\n", f"unknown timing field 'cll', expected one of {', '.join(FIELDS)}"),
        (text.replace("rows = ", "# "), "missing fields rows"),
        (re.sub("(?m)^(cl|rp) =", "#", text), "missing timing fields cl, rp"),
        (text.partition("[timing]")[0], "missing fields timing"),
        (text.partition("[timing]")[0] + "timing = 4\n", "timing must be a table, not 4"),
        ("rows 8", "not a TOML file of an HBM generation: "),
        (b"\xff", "not a TOML file of an HBM generation: "),
    ):  # fmt: skip
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValueError) as caught:
            load_generation(str(path))
        assert str(caught.value).startswith(f"{path}: {message}")
        assert "\n" not in str(caught.value)
    names = ", ".join(GENERATIONS)
    with pytest.raises(ValueError) as caught:
        load_generation("hbm9")
    assert str(caught.value) == f"hbm9: no such file, nor an HBM generation ({names})"
    with pytest.raises(ValueError, match="not a TOML file of an HBM generation: "):
        load_generation(str(tmp_path))


def test_no_preset_is_left_out():
    assert {path.stem for path in PRESETS.glob("*.toml")} == set(GENERATIONS)
    assert all("timing" in tomllib.loads(p.read_text()) for p in PRESETS.glob("*.toml"))
