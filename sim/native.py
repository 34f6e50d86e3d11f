"""Builds a verilated design and a C++ harness into a native library: Verilator → C++ → .so."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.builds import build_root, digest
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

OPTIMISE = "-O2"
# Flattened, so that every SRAM macro's content is a member of one class, whatever its depth.
_FLAGS = (
    *("--cc", "--flatten", "-O3"),
    *("--x-assign", "fast", "--x-initial", "fast", "--noassert", "--threads", "1"),
    *("-Wno-fatal", "-Wno-lint", "--output-split", "4000"),
)
# Models of several chips live in one process: nothing of one may be resolved to another's.
_PRIVATE = ("-fPIC", "-fvisibility=hidden", "-fno-gnu-unique")


@dataclass(frozen=True)
class NativeModel:
    """What a library is made of.

    ``top``, ``design``: module and SystemVerilog; ``harness``: the C++ around it, which finds
    `V{top}.h` and, beside it, `layout.h`: the text that ``layout`` makes once Verilator has written
    its classes into a folder. ``headers`` are what the harness includes from the checkout;
    ``public``: (module, variable) patterns that the harness may see.
    """

    top: str
    design: str
    harness: Path
    layout: Callable[[Path], str]
    headers: Sequence[Path] = ()
    public: Sequence[tuple[str, str]] = ()
    trace: bool = False

    def key(self) -> str:
        """Hash of all that shapes the library but the design and the layout."""
        tools = f"{verilator_version()} {OPTIMISE} {_FLAGS} {self.trace}"
        sources = (self.harness, *self.headers, Path(__file__))
        return digest([tools, *(path.read_text() for path in sources)])


def build_library(model: NativeModel, target: Path, library: str) -> None:
    """Build into folder ``target`` the file ``library``, and beside it `build_seconds` (of CPU).

    Raises ValueError with the end of the tool's output when a step fails.
    """
    shutil.rmtree(target, ignore_errors=True)
    objects = target / "obj"
    objects.mkdir(parents=True)
    (target / "design.sv").write_text(model.design)
    (target / "public.vlt").write_text(control_file(model.public))
    env, prefix = verilator_env(OPTIMISE), f"V{model.top}"
    started = resource.getrusage(resource.RUSAGE_CHILDREN)
    inputs = [str(target / "public.vlt"), str(target / "design.sv")]
    flags = [*_FLAGS, "--top-module", model.top, "--prefix", prefix]
    flags += ["-CFLAGS", " ".join(_PRIVATE), "--Mdir", str(objects)]
    flags += ["--trace-vcd"] if model.trace else []
    _call([*verilator_command(), *flags, *inputs], target, env)
    (objects / "layout.h").write_text(model.layout(objects))
    cache = build_root() / "runtime" / f"private-{runtime_key(OPTIMISE)}{'-trace' * model.trace}"
    restore_runtime(objects, cache)
    archives = [f"lib{prefix}.a", "libverilated.a"]
    make = ["make", "-C", str(objects), "-f", f"{prefix}.mk", f"-j{os.cpu_count() or 1}"]
    _call([*make, *archives], target, env)
    save_runtime(objects, cache)
    include = verilator_root() / "include"
    compile_flags = ["-std=gnu++20", OPTIMISE, *_PRIVATE, "-shared"]
    compile_flags += [f"-DVM_TRACE={int(model.trace)}"]
    includes = [f"-I{objects}", f"-I{model.harness.parent}"]
    includes += [f"-I{include}", f"-I{include / 'vltstd'}"]
    output = ["-o", str(target / "partial.so"), "-lpthread"]
    linked = [str(model.harness), *(str(objects / name) for name in archives)]
    _call(["g++", *compile_flags, *includes, *linked, *output], target, env)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime
    (target / "build_seconds").write_text(f"{seconds:.1f}\n")
    shutil.rmtree(objects)
    (target / "partial.so").rename(target / library)


def _call(command: list[str], folder: Path, env: dict[str, str]) -> None:
    """Run one tool; its output goes to build.log."""
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode(errors="replace")
    with (folder / "build.log").open("a") as log:
        log.write(f"$ {' '.join(command)}\n{text}")
    if done.returncode:
        end = "\n".join(text.splitlines()[-30:])
        raise ValueError(f"building the RTL model failed at {Path(command[0]).name}:\n{end}")
