"""What runs at the points of a sweep: programs, how they are compiled, their launches."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isa.config import FREE_FIELDS, ChipConfig, load_config
from isa.image import ProgramImage, load_image, require_config
from sim.sweep.values import SweepError, check_names, numbers

_KINDS = {".onnx": "model", ".jx": "image", ".s": "assembly"}
# What jcc's flags of these names take, and the type here.
_OPTIONS = {
    "max_context": int, "weights": list, "activations": list, "kv": str, "no_weights": bool,
    "tile": int, "loops": str,
}  # fmt: skip
_LAUNCHES = ("prefill", "decode")
_WORD = 1 << 20


@dataclass(frozen=True)
class Launch:
    """``tokens`` new ones behind ``past`` others; of programs without a model both are 0."""

    tokens: int = 0
    past: int = 0

    @property
    def kind(self) -> str:
        if not self.tokens:
            return "program"
        return "decode" if self.past else "prefill"

    def __str__(self) -> str:
        if not self.tokens:
            return self.kind
        return f"decode at {self.past}" if self.past else f"prefill {self.tokens}"


@dataclass(frozen=True)
class Program:
    """``kind``: model (ONNX), image (.jx) or assembly; ``options``: those of jcc; ``content``:
    hash of what is read."""

    path: Path
    name: str
    kind: str
    options: Mapping[str, Any]
    launches: tuple[Launch, ...]
    content: str

    def command(self, config: str, launch: Launch) -> str:
        """What to type for one point; ``config`` as `load_config` takes it."""
        words = ["jalapeno", "profile"]
        if launch.tokens:
            words += ["--tokens", str(launch.tokens), "--past", str(launch.past)]
        if self.kind == "image":
            return shlex.join([*words, str(self.path), "--config", config])
        made = ["jcc"] if self.kind == "model" else ["jalapeno", "asm"]
        made += [str(self.path), "-o", "point.jx", "--config", config]
        for name, value in self.options.items():
            flag = "--" + name.replace("_", "-")
            if isinstance(value, list):
                made += [word for entry in value for word in (flag, entry)]
            elif value is not False:
                made += [flag] if value is True else [flag, str(value)]
        return f"{shlex.join(made)} && {shlex.join([*words, 'point.jx'])}"

    def image_for(self, config: ChipConfig, check: bool) -> ProgramImage:
        """The program for a chip, proven if ``check``. Raises CompileError, ValueError."""
        from sim.check import check_image

        image = self._assembled(config) if self.kind == "assembly" else self._compiled(config)
        if check:
            check_image(image)
        return image

    def _assembled(self, config: ChipConfig) -> ProgramImage:
        from isa.assembler import assemble_file

        return assemble_file(self.path, config)

    def _compiled(self, config: ChipConfig) -> ProgramImage:
        from compiler.pipeline import compile_file
        from compiler.storage import Activations, Choice, Storage

        given = self.options
        storage = Storage(
            weights=Choice.parse(given.get("weights", [])),
            kv=given.get("kv", "bf16"),
            stored=not given.get("no_weights", False),
            loops=given.get("loops", "auto"),
            activations=Activations.parse(given.get("activations", [])),
        )
        context, tile = given["max_context"], given.get("tile", 0)
        return compile_file(self.path, config, context, storage=storage, tile=tile)


def read_program(given: Mapping[str, Any], sweep: Path) -> Program:
    """A [[program]] of a sweep's file. Raises SweepError."""
    check_names(given, ["file", "name", *_LAUNCHES, *_OPTIONS], where := f"{sweep}: program")
    if not isinstance(file := given.get("file"), str):
        raise SweepError(f"{where}.file must name an .onnx, .jx or .s file, not {file!r}")
    path = sweep.parent / file
    kind = _KINDS.get(path.suffix)
    if kind is None or not path.is_file():
        why = "no such file" if kind else "must end in .onnx, .jx or .s"
        raise SweepError(f"{sweep}: program {path}: {why}")
    options = {name: given[name] for name in _OPTIONS if name in given}
    _check_options(options, kind, where)
    is_model = kind == "model" or (kind == "image" and load_image(path).io.is_model)
    launches = _launches(given, is_model, where)
    if kind == "model":
        from compiler.cli import default_context

        most = max(launch.tokens + launch.past for launch in launches)
        context = options.get("max_context") or default_context(path)
        options = {**options, "max_context": context or most}
    own = path.parent.name if path.stem == "model" else path.stem
    name, content = given.get("name", own), _content(path, options)
    if not isinstance(name, str):
        raise SweepError(f"{where}.name must be a text, not {name!r}")
    return Program(path, name, kind, options, launches, content)


def _check_options(options: Mapping[str, Any], kind: str, where: str) -> None:
    for name, value in options.items():
        if kind != "model":
            raise SweepError(f"{where}.{name} is for .onnx files: a program is compiled already")
        wanted = _OPTIONS[name]
        texts = not isinstance(value, list) or all(isinstance(entry, str) for entry in value)
        if type(value) is not wanted or not texts:
            meant = "a list of texts" if wanted is list else f"of type {wanted.__name__}"
            raise SweepError(f"{where}.{name} must be {meant}, not {value!r}")


def _launches(given: Mapping[str, Any], is_model: bool, where: str) -> tuple[Launch, ...]:
    counts = {name: numbers(given[name], f"{where}.{name}") for name in _LAUNCHES if name in given}
    if not is_model:
        if counts:
            raise SweepError(f"{where}.{next(iter(counts))} is for models: this one runs once")
        return (Launch(),)
    if not counts:
        raise SweepError(f"{where} needs prefill (tokens) or decode (tokens before it)")
    if min(number for part in counts.values() for number in part) < 1:
        raise SweepError(f"{where}: prefill and decode must be at least 1")
    prefills = [Launch(tokens) for tokens in counts.get("prefill", ())]
    return (*prefills, *(Launch(1, past) for past in counts.get("decode", ())))


def _content(path: Path, options: Mapping[str, Any]) -> str:
    """Hash of a file; of external data, which may be large, by sizes and times."""
    found = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    with path.open("rb") as file:
        while chunk := file.read(_WORD):
            found.update(chunk)
    if path.suffix == ".onnx" and not options.get("no_weights"):
        for other in sorted(path.parent.glob("*")):
            if other != path and other.is_file():
                status = other.stat()
                found.update(f"{other.name} {status.st_size} {status.st_mtime_ns}".encode())
    return found.hexdigest()


def check_image_fits(program: Program, config: str, fields: list[str]) -> None:
    """SweepError where an image's chip is not the sweep's, or varies. Others are made for each."""
    if program.kind != "image":
        return
    for name in fields:
        if name not in FREE_FIELDS:
            raise SweepError(
                f"{program.path}: {name} varies, but a program image is made for one chip: give "
                "its .onnx or .s file"
            )
    require_config(load_image(program.path), load_config(config), str(program.path))
