"""Cases as files: a listing that one can read and assemble, with all that replaying it needs.

The text's second line holds the case in JSON: the chip, the seed of memory, SRAM and accumulators,
and the words that are no instructions; in the listing a `vnop` stands for each of those.
"""

import json
from pathlib import Path

from isa.assembler import assemble, disassemble
from isa.config import ChipConfig
from isa.image import ProgramImage
from isa.program import DecodeError, Op, decode
from isa.table import INSTRUCTION_BYTES
from sim.fuzz_case import Case

_MARK = "# case: "


def write_case(case: Case, path: Path, why: str) -> None:
    """Write the file and the folders above it; ``why``: one line for the reader."""
    ops, words = _decoded(case.code)
    header = {"seed": case.seed, "words": words, "config": case.config.to_dict()}
    text = disassemble(ProgramImage.from_ops(case.config, ops))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {' '.join(why.split())}\n{_MARK}{json.dumps(header)}\n{text}")


def read_case(path: Path) -> Case:
    """Inverse of `write_case`; ValueError if the file is none of these."""
    text = path.read_text()
    marked = [line for line in text.splitlines() if line.startswith(_MARK)]
    if len(marked) != 1:
        raise ValueError(f"{path}: expected one line that begins with {_MARK!r}, not {len(marked)}")
    header = json.loads(marked[0].removeprefix(_MARK))
    config = ChipConfig.from_dict(header["config"], str(path))
    code = bytearray(assemble(text, str(path), config).code)
    for index, word in header["words"].items():
        start = int(index) * INSTRUCTION_BYTES
        code[start : start + INSTRUCTION_BYTES] = bytes.fromhex(word)
    return Case(config, bytes(code), header["seed"])


def listing(case: Case) -> str:
    """The program as text."""
    return disassemble(ProgramImage.from_ops(case.config, _decoded(case.code)[0]))


def _decoded(code: bytes) -> tuple[list[Op], dict[int, str]]:
    """The instructions, and the words that are none, by index."""
    ops, words = [], {}
    for index in range(len(code) // INSTRUCTION_BYTES):
        word = code[index * INSTRUCTION_BYTES : (index + 1) * INSTRUCTION_BYTES]
        try:
            ops.append(decode(word))
        except DecodeError:
            ops.append(Op("vnop"))
            words[index] = word.hex()
    return ops, words
