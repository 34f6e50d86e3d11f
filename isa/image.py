"""The program image: everything a back end needs to run a program, in one file.

File (`.jx`), little-endian: 8 bytes magic, u32 version, u32 length of the header, 32 bytes
SHA-256 of all other bytes, the header (JSON), then the sections `code` and `hbm`, each at a
multiple of 4096 bytes so that they can be mapped into memory.
"""

import hashlib
import json
import mmap
import os
import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.content import Content, content_of
from isa.files import whole_file
from isa.iomap import IoMap
from isa.program import Op, decode_program, encode_program
from isa.table import INSTRUCTION_BYTES

MAGIC = b"JALAPENO"
# 1: before DMA had planes, whose number must not be 0; 2: before slots, arrays, images.
VERSION = 3
_PREFIX = struct.Struct("<8sII32s")
_ALIGNMENT = 4096
_CHUNK = 1 << 22
_NORESERVE = 0x4000  # Linux's MAP_NORESERVE, which mmap names from Python 3.13 on


class ImageError(ValueError):
    """A file that cannot be used as a program image; one line names the file and the reason."""


@dataclass
class ProgramImage:
    """A program and its memory.

    ``code``: instructions, 32 bytes each; they lie in HBM from atom ``code_base`` on. ``hbm``:
    what HBM holds from address 0 on when the program starts (without the code), a uint8 array or
    pieces of it; the rest, up to ``hbm_bytes``, is zero. ``nodes``: (first instruction, ONNX node),
    ascending: each entry holds up to the next one. ``meta``: anything JSON can say about the
    program, e.g. its source.
    """

    config: ChipConfig
    code: bytes
    code_base: int = 0
    hbm: NDArray[np.uint8] | Content = field(default_factory=lambda: np.zeros(0, np.uint8))
    hbm_bytes: int = 0
    io: IoMap = field(default_factory=IoMap)
    nodes: list[tuple[int, str]] = field(default_factory=list)
    meta: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.code) % INSTRUCTION_BYTES:
            raise ValueError(
                f"code must be whole instructions of {INSTRUCTION_BYTES} bytes, "
                f"not {len(self.code)} bytes"
            )
        start = self.code_base * HBM_ATOM_BYTES
        self.hbm_bytes = max(self.hbm_bytes, self.hbm.size, start + len(self.code))
        if self.hbm_bytes > self.config.capacity_bytes:
            raise ValueError(
                f"the program needs {self.hbm_bytes} bytes of memory, configuration "
                f"{self.config.name!r} has {self.config.capacity_bytes}"
            )

    @classmethod
    def from_ops(cls, config: ChipConfig, ops: list[Op], **rest: Any) -> "ProgramImage":
        """An image of instructions that are not encoded yet; ``rest`` as the other members."""
        return cls(config, encode_program(ops), **rest)

    def ops(self) -> list[Op]:
        """The instructions, decoded; ValueError names one that is not legal."""
        return decode_program(self.code)

    @property
    def content(self) -> Content:
        """What HBM holds, in pieces."""
        return self.hbm if isinstance(self.hbm, Content) else content_of(self.hbm)

    def memory(self, filled: bool = True) -> NDArray[np.uint8]:
        """A fresh HBM of ``hbm_bytes`` bytes (up to whole atoms, and whole beats of the memory
        port) with the code in place, and if ``filled`` the data."""
        unit = max(HBM_ATOM_BYTES, self.config.axi_bytes)
        memory = _zeros(-(-self.hbm_bytes // unit) * unit)
        if filled:
            self.content.fill(memory)
        start = self.code_base * HBM_ATOM_BYTES
        memory[start : start + len(self.code)] = np.frombuffer(self.code, np.uint8)
        return memory

    def node_of(self, index: int) -> str:
        """The ONNX node that instruction ``index`` computes; empty if there is none."""
        entry = bisect_right(self.nodes, index, key=lambda node: node[0])
        return self.nodes[entry - 1][1] if entry else ""


def _zeros(size: int) -> NDArray[np.uint8]:
    """(size,) bytes that take room when they are written, however many there are."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
    return np.frombuffer(mmap.mmap(-1, size, flags=flags), np.uint8) if size else np.zeros(0, "u1")


def require_config(image: ProgramImage, config: ChipConfig, path: str = "program image") -> None:
    """ImageError if the image was made for another chip than ``config``."""
    if image.config.digest() != config.digest():
        made, wanted = image.config, config
        raise ImageError(
            f"{path}: made for configuration {made.name!r} ({made.digest()}), not for "
            f"{wanted.name!r} ({wanted.digest()}): compile it again with --config {wanted.name}"
        )


def save_image(image: ProgramImage, path: str | Path) -> None:
    """Write the file; it appears whole or not at all."""
    with whole_file(path) as file:
        _write(image, file)


def _write(image: ProgramImage, file: IO[bytes]) -> None:
    header = {
        "config": image.config.to_dict(),
        "code_base": image.code_base,
        "code_bytes": len(image.code),
        "stored_bytes": image.hbm.size,
        "hbm_bytes": image.hbm_bytes,
        "io": image.io.to_dict(),
        "nodes": image.nodes,
        "meta": image.meta,
    }
    text = json.dumps(header).encode()
    start = _PREFIX.pack(MAGIC, VERSION, len(text), bytes(32))
    digest = hashlib.sha256()
    file.write(start)

    def put(parts: Iterable[bytes | memoryview]) -> None:
        for part in parts:
            file.write(part)
            digest.update(part)

    put([text])
    put([bytes(-file.tell() % _ALIGNMENT), image.code])
    put([bytes(-file.tell() % _ALIGNMENT)])
    put(part.data for part in image.content.parts())
    file.seek(0)
    digest.update(start[:16])
    file.write(_PREFIX.pack(MAGIC, VERSION, len(text), digest.digest()))


def load_image(path: str | Path) -> ProgramImage:
    """Read and check a file; its HBM content is mapped, not copied. Faults raise ImageError."""
    name = str(path)
    try:
        with open(path, "rb") as file:
            header, code_at, hbm_at = _read_header(file, name)
            file.seek(code_at)
            code = file.read(header["code_bytes"])
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except OSError as error:
        raise ImageError(f"{name}: cannot be read: {error.strerror}") from None
    stored = header["stored_bytes"]
    hbm = np.memmap(path, np.uint8, "r", hbm_at, (stored,)) if stored else np.zeros(0, np.uint8)
    try:
        config = ChipConfig.from_dict(header["config"], name)
        nodes = [(first, node) for first, node in header["nodes"]]
        io, base, size = IoMap.from_dict(header["io"]), header["code_base"], header["hbm_bytes"]
        return ProgramImage(config, code, base, hbm, size, io, nodes, header["meta"])
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError(f"{name}: not a usable program image: {error}") from None


def _read_header(file: IO[bytes], name: str) -> tuple[dict, int, int]:
    """The checked header and the file offsets of the sections."""
    start = file.read(_PREFIX.size)
    if start[:8] != MAGIC[: len(start)] or not start:
        raise ImageError(f"{name}: not a program image (jcc and `jalapeno asm` write them)")
    if len(start) < _PREFIX.size:
        raise ImageError(f"{name}: truncated program image: {len(start)} bytes")
    _, version, length, wanted = _PREFIX.unpack(start)
    if version != VERSION:
        raise ImageError(
            f"{name}: program image of version {version}, this program reads version {VERSION}"
        )
    size = os.fstat(file.fileno()).st_size
    if size < _PREFIX.size + length:
        raise ImageError(
            f"{name}: truncated program image: {size} bytes, its header needs {length}"
        )
    text = file.read(length)
    damaged = f"{name}: damaged program image (checksum mismatch): compile it again"
    try:
        header = json.loads(text)
        code_at = _aligned(_PREFIX.size + length)
        hbm_at = _aligned(code_at + header["code_bytes"])
        end = hbm_at + header["stored_bytes"]
    except (ValueError, KeyError, TypeError):
        raise ImageError(damaged) from None
    if size < end:
        raise ImageError(f"{name}: truncated program image: {size} bytes, expected {end}")
    if _digest(file, start) != wanted:
        raise ImageError(damaged)
    return header, code_at, hbm_at


def _aligned(offset: int) -> int:
    return offset + -offset % _ALIGNMENT


def _digest(file: IO[bytes], start: bytes) -> bytes:
    digest = hashlib.sha256()
    file.seek(_PREFIX.size)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    digest.update(start[:16])
    return digest.digest()
