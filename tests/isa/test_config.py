"""Chip configurations: what is refused, and in which words."""

import json
import math
from pathlib import Path

import pytest

from isa.config import ChipConfig, load_config, preset_names

TINY = load_config("tiny")


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_possible_and_named(name: str):
    config = load_config(name)
    assert config.name == name
    assert config.sram_lines * config.line_bytes == config.sram_bytes
    assert config.bank_lines * config.sram_banks == config.sram_lines
    assert ChipConfig.from_dict(config.to_dict(), "copy") == config


def test_derived_sizes():
    server = load_config("server")
    assert (server.array_row_bytes, server.array_col_bytes) == (256, 256)
    assert (server.f32_vector_bytes, server.bf16_vector_bytes) == (512, 256)
    assert server.weight_rows_per_cycle == 2
    whole = server.replace(element="int8")
    assert (whole.array_row_bytes, whole.array_col_bytes, whole.weight_rows_per_cycle) == (
        128,
        128,
        4,
    )
    assert TINY.replace(axi_bytes=16).bandwidth_bytes_per_cycle == 16
    assert TINY.replace(memory_bytes_per_cycle=5).bandwidth_bytes_per_cycle == 5


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("name", "", "name must be a non-empty string, not ''"),
        ("rows", 12, "rows must be a power of two, not 12"),
        ("rows", 512, "rows must be between 4 and 256, not 512"),
        ("cols", 2, "cols must be between 4 and 256, not 2"),
        ("cols", True, "cols must be an integer, not True"),
        ("lanes", 16, "lanes must be a divisor of cols (8), not 16"),
        ("line_bytes", 16, "line_bytes must be between 32 (one fp32 vector, one array row, "
         "C bf16 weights) and 1024, not 16"),
        ("sram_bytes", 1 << 25, "sram_bytes must be at most 16 MiB (24-bit addresses), "
         "not 33554432"),
        ("sram_bytes", 1024, "sram_bytes must be at least 64 lines of 32 bytes, not 1024"),
        ("sram_banks", 1, "sram_banks must be between 2 and 32, not 1"),
        ("acc_rows", 8, "acc_rows must be between 16 and 32768, not 8"),
        ("axi_bytes", 64, "axi_bytes must be at most line_bytes (32), not 64"),
        ("queue_depth", 1, "queue_depth must be between 2 and 64, not 1"),
        ("burst_beats", 256, "burst_beats must be at most 4096 bytes of bursts, 128 beats, "
         "not 256"),
        ("load_bursts", 0, "load_bursts must be between 1 and 64, not 0"),
        ("element", "fp16", "element must be one of bf16, fp8, int8, not 'fp16'"),
        ("watchdog_cycles", 64, "watchdog_cycles must be between 256 and 2^30, not 64"),
        ("store_bursts", 65, "store_bursts must be between 1 and 64, not 65"),
        ("hbm_channels", 3, "hbm_channels must be a power of two, not 3"),
        ("hbm_channels", 64, "hbm_channels must be at most 32, those of a stack, not 64"),
        ("hbm_stacks", 3, "hbm_stacks must be a power of two, not 3"),
        ("hbm_stacks", 128, "hbm_stacks must be at most 64 with all their channels, not 128"),
        ("hbm_depth", 2, "hbm_depth must be between 4 and 64, not 2"),
        ("hbm_refresh", "none", "hbm_refresh must be one of all, bank, not 'none'"),
        ("hbm_ecc", "parity", "hbm_ecc must be one of none, secded, not 'parity'"),
        ("hbm_map", "row bank column group", "hbm: HBM mapping 'row bank column group': channel is "
         "missing, 1 bits"),
        ("hbm_map", "row bank column group channel:1^row column:0", "hbm: HBM mapping "
         "'row bank column group channel:1^row column:0': column:0 must have at least one bit"),
        ("hbm", "hbm9", "hbm: hbm9: no such file, nor an HBM generation (hbm2e, hbm3, hbm3e, "
         "hbm4)"),
        ("hbm", 3, "hbm must be a string, not 3"),
        ("axi_bytes", 8, "axi_bytes must be at least 16 with HBM, or hbm '', not 8"),
        ("memory_latency_cycles", 0, "memory_latency_cycles must be at least 1, not 0"),
        ("memory_bytes_per_cycle", -1, "memory_bytes_per_cycle must be at least 0, not -1"),
    ],
)  # fmt: skip
def test_impossible_configurations_are_refused(field: str, value: int, wanted: str):
    name = value if field == "name" else "tiny"
    with pytest.raises(ValueError) as caught:
        TINY.replace(**{field: value})
    assert str(caught.value) == f"configuration {name!r}: {wanted}"


def test_files(tmp_path: Path):
    path = tmp_path / "mine.toml"
    text = "\n".join(f"{k} = {json.dumps(v)}" for k, v in TINY.to_dict().items() if k != "name")
    path.write_text(text)
    config = load_config(str(path))
    assert config == TINY.replace(name="mine")
    assert config.digest() == TINY.digest()  # the name decides nothing
    for content, message in (
        (text.replace("rows = 8", "rows = 9", 1), "configuration 'mine': rows must be a power of"),
        (text + "\nspeed = 3", "unknown field 'speed', expected one of "),
        (text.replace("cols = 8", ""), "missing fields cols"),
        ("rows 8", "not a TOML configuration: "),
    ):
        path.write_text(content)
        with pytest.raises(ValueError) as caught:
            load_config(str(path))
        assert str(caught.value).startswith(f"{path}: {message}")
    with pytest.raises(ValueError, match=r"^none: no such configuration file, nor a preset"):
        load_config("none")


def test_digest_leaves_out_what_programs_do_not_depend_on():
    assert TINY.digest() == TINY.replace(memory_latency_cycles=7, memory_bytes_per_cycle=3).digest()
    assert TINY.digest() == TINY.replace(hbm="hbm4", hbm_channels=8).digest()
    assert TINY.digest() == load_config("tiny,hbm=hbm4,hbm_channels=4").digest()
    assert TINY.digest() != TINY.replace(acc_rows=2048).digest()
    assert math.log2(len({load_config(name).digest() for name in preset_names()})) == 2


def test_fields_can_be_changed_behind_the_name():
    config = load_config("tiny,element=fp8,rows=16")
    assert config == TINY.replace(name="tiny,element=fp8,rows=16", element="fp8", rows=16)
    for text, message in (
        ("tiny,rows", "a change must be FIELD=VALUE, not 'rows'"),
        ("tiny,row=8", "unknown field 'row', expected one of "),
        ("tiny,rows=x", "configuration 'tiny,rows=x': rows must be an integer, not 'x'"),
        ("tiny,rows=9", "configuration 'tiny,rows=9': rows must be a power of two, not 9"),
    ):
        with pytest.raises(ValueError) as caught:
            load_config(text)
        assert str(caught.value).startswith(f"{text}: {message}")


@pytest.mark.parametrize(
    ("axi_bytes", "stacks", "channels", "all_"),
    [(32, 1, 0, 2), (32, 2, 0, 2), (32, 4, 0, 4), (32, 2, 8, 16), (16, 1, 32, 32)],
)
def test_pseudo_channels_of_all_stacks(axi_bytes, stacks, channels, all_):
    config = TINY.replace(axi_bytes=axi_bytes, hbm_stacks=stacks, hbm_channels=channels)
    assert config.pseudo_channels == config.hbm_mapping.channels == all_
    assert config.capacity_bytes == all_ * config.hbm_mapping.generation.bytes
