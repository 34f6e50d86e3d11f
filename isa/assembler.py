"""Assembler and disassembler: programs as text.

A line is `[LABEL:] [INSTRUCTION | DIRECTIVE] [# comment]`; see isa.syntax for instructions.
Directives:

    .config NAME[,FIELD=VALUE]…  chip configuration, see isa.config.load_config; default tiny
    .equ NAME VALUE              a name for a number
    .code ADDRESS                where the code lies in HBM, a multiple of 64; default: behind data
    .memory BYTES                least size of HBM
    .u32|.f32|.bf16 ADDRESS VALUE…
                                 data in HBM
    .random ADDRESS f32|bf16|i8|e4m3|e5m2 COUNT SEED [SCALE]
                                 normally distributed data, the same on every machine
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES, ChipConfig, load_config
from isa.formats import quantise
from isa.image import ProgramImage
from isa.numbers import to_bf16
from isa.program import Op
from isa.syntax import float_bits, format_op, is_name, parse_number, parse_op

_RANDOM_TYPES = ("f32", "bf16", "i8", "e4m3", "e5m2")
_LARGEST_DATA = 1 << 28  # of one assembled program's HBM; more is the compiler's business


class AssemblyError(ValueError):
    """A fault in assembly text; one line that names file and line."""


class _Assembler:
    """State while a text is read. Two passes, so that labels may be used before they stand."""

    def __init__(self) -> None:
        self.config = "tiny"
        self.code_address: int | None = None
        self.memory_bytes = 0
        self.names: dict[str, int] = {}
        self.data: list[tuple[int, NDArray[np.uint8]]] = []
        self.instructions: list[tuple[int, str]] = []  # line number, text
        self.directives: dict[str, Callable[[list[str]], None]] = {
            ".config": self._config,
            ".equ": self._equ,
            ".code": self._code,
            ".memory": self._memory,
            ".u32": lambda words: self._values(words, self._number, np.uint32),
            ".f32": lambda words: self._values(words, float_bits, np.uint32),
            ".bf16": lambda words: self._values(words, _bf16_bits, np.uint16),
            ".random": self._random,
        }

    def line(self, number: int, text: str) -> None:
        text = text.partition("#")[0].strip()
        label, colon, rest = text.partition(":")
        if colon:
            self._define(label.strip(), len(self.instructions))
            text = rest.strip()
        if text.startswith("."):
            words = text.replace(",", " ").split()
            if words[0] not in self.directives:
                known = ", ".join(self.directives)
                raise ValueError(f"unknown directive {words[0]!r} (directives: {known})")
            self.directives[words[0]](words[1:])
        elif text:
            self.instructions.append((number, text))

    def _define(self, name: str, value: int) -> None:
        if not is_name(name):
            raise ValueError(f"a name must be a word and no register, not {name!r}")
        if name in self.names:
            raise ValueError(f"{name!r} is defined twice")
        self.names[name] = value

    def _number(self, text: str) -> int:
        value = parse_number(text, self.names)
        if not 0 <= value < 1 << 32:
            raise ValueError(f"expected a number of 32 bits, not {text!r}")
        return value

    def _numbers(self, words: list[str], wanted: str, least: int, most: int) -> list[int]:
        if not least <= len(words) <= most:
            raise ValueError(f"expected {wanted}, not {' '.join(words)!r}")
        return [self._number(word) for word in words]

    def _config(self, words: list[str]) -> None:
        if not words:
            raise ValueError("expected .config NAME or .config NAME,FIELD=VALUE,…")
        self.config = ",".join(words)

    def _equ(self, words: list[str]) -> None:
        (value,) = self._numbers(words[1:], ".equ NAME VALUE", 1, 1)
        self._define(words[0], value)

    def _code(self, words: list[str]) -> None:
        (self.code_address,) = self._numbers(words, ".code ADDRESS", 1, 1)
        if self.code_address % HBM_ATOM_BYTES:
            raise ValueError(f"the code's address must be a multiple of {HBM_ATOM_BYTES}")

    def _memory(self, words: list[str]) -> None:
        (self.memory_bytes,) = self._numbers(words, ".memory BYTES", 1, 1)

    def _values(self, words: list[str], convert: Callable[[str], int], dtype: type) -> None:
        if len(words) < 2:
            raise ValueError("expected an address and values")
        values: NDArray = np.array([convert(word) for word in words[1:]], dtype)
        self._place(self._number(words[0]), values)

    def _random(self, words: list[str]) -> None:
        if len(words) not in (4, 5) or words[1] not in _RANDOM_TYPES:
            raise ValueError(
                f"expected .random ADDRESS {'|'.join(_RANDOM_TYPES)} COUNT SEED [SCALE]"
            )
        address, count, seed = (self._number(words[i]) for i in (0, 2, 3))
        if address + 4 * count > _LARGEST_DATA:
            raise ValueError(
                f"data must lie below 0x{_LARGEST_DATA:x}, not up to {address + count}"
            )
        scale = np.float32(words[4] if len(words) == 5 else 1)
        numbers = random_numbers(count, seed) * scale
        if words[1] == "f32":
            self._place(address, numbers)
        else:
            encode = to_bf16 if words[1] == "bf16" else partial(quantise, words[1])
            self._place(address, encode(numbers))

    def _place(self, address: int, values: NDArray) -> None:
        if address + values.nbytes > _LARGEST_DATA:
            raise ValueError(f"data must lie below 0x{_LARGEST_DATA:x}, not at 0x{address:x}")
        self.data.append((address, values.view(np.uint8)))


def _bf16_bits(text: str) -> int:
    return int(to_bf16(np.array([float_bits(text)], np.uint32).view(np.float32))[0])


def random_numbers(count: int, seed: int) -> NDArray[np.float32]:
    """About normally distributed: sums of twelve bytes of a bit stream that NumPy keeps stable."""
    words = np.random.PCG64(seed).random_raw(-(-12 * count // 8))
    sums = words.view(np.uint8)[: 12 * count].reshape(count, 12).sum(axis=1, dtype=np.int32)
    return ((sums - 1530) / np.float32(256)).astype(np.float32)


def assemble(text: str, source: str, config: ChipConfig | None = None) -> ProgramImage:
    """The image of a program. ``source`` names the text in errors and in the image's ``meta``;
    ``config`` overrides `.config`. Raises AssemblyError."""
    state = _Assembler()
    for number, line in enumerate(text.splitlines(), 1):
        with _errors_at(source, number):
            state.line(number, line)
    ops = []
    for number, line in state.instructions:
        with _errors_at(source, number):
            ops.append(parse_op(line, state.names))
    size = max((address + values.size for address, values in state.data), default=0)
    hbm = np.zeros(size, np.uint8)
    for address, values in state.data:
        hbm[address : address + values.size] = values
    base = state.code_address
    atom = -(-size // HBM_ATOM_BYTES) if base is None else base // HBM_ATOM_BYTES
    if base is not None and base < size and base + 32 * len(ops) > _first_data_after(state, base):
        raise AssemblyError(f"{source}: the code at 0x{base:x} overlaps data")
    try:
        chip = config or load_config(state.config)
        return ProgramImage.from_ops(
            chip,
            ops,
            code_base=atom,
            hbm=hbm,
            hbm_bytes=state.memory_bytes,
            meta={"source": source},
        )
    except ValueError as error:
        raise AssemblyError(f"{source}: {error}") from None


def _first_data_after(state: _Assembler, base: int) -> int:
    """Least address of data that ends behind ``base``."""
    return min(address for address, values in state.data if address + values.size > base)


@contextmanager
def _errors_at(source: str, number: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise AssemblyError(f"{source} line {number}: {error}") from None


def assemble_file(path: str | Path, config: ChipConfig | None = None) -> ProgramImage:
    """`assemble` of a file."""
    try:
        text = Path(path).read_text()
    except FileNotFoundError:
        raise AssemblyError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AssemblyError(f"{path}: cannot be read as text: {error}") from None
    return assemble(text, str(path), config)


def branch_labels(ops: list[Op]) -> dict[int, str]:
    """A name for each instruction that a branch with an immediate target goes to."""
    targets = {op.get("y") for op in ops if op.mnemonic in ("beq", "blt")}
    inside = sorted(t for t in targets if isinstance(t, int) and t < len(ops))
    return {target: f"L{target}" for target in inside}


def disassemble(image: ProgramImage) -> str:
    """The program as text (without its data) with the ONNX nodes as comments.

    Assembled again, it gives the same instructions.
    """
    ops = image.ops()
    labels = branch_labels(ops)
    lines = [f".config {image.config.name}", f".code 0x{HBM_ATOM_BYTES * image.code_base:x}"]
    nodes = dict(image.nodes)
    for index, op in enumerate(ops):
        if nodes.get(index):
            lines.append(f"# {nodes[index]}")
        if index in labels:
            lines.append(f"{labels[index]}:")
        lines.append(f"    {format_op(op, labels)}")
    return "\n".join(lines) + "\n"
