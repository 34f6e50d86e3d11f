"""What the cycle model has to know of a run: every instruction as it is executed, and its operands.

A program is followed as the functional simulator follows it, whose values decide where data do: the
words that `ld` reads, the rows that `gather` takes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isa.config import ChipConfig
from isa.formats import FORMATS
from isa.image import ProgramImage
from isa.program import decode
from isa.rules import BINARY, INDEX_BYTES, REDUCTIONS
from isa.table import INSTRUCTION_BYTES, Engine
from sim.functional import FunctionalCore
from sim.scalar import ALU, Command, ScalarMachine

TYPES = "".join(Path(__file__).with_name(n).read_text() for n in ("types.h", "hbm_types.h"))


def names_of(macro: str) -> list[str]:
    """The fields that a list of `types.h` names."""
    (body,) = re.findall(rf"#define {macro}\(X\)((?:.*\\\n)*.*\n)", TYPES)
    return re.findall(r"X\((\w+)\)", body)


FIELDS = {name: index for index, name in enumerate(names_of("COMMAND_FIELDS"))}
_KIND_NAMES = re.findall(r"k(\w+)", re.findall(r"enum Kind : int64_t \{(.*?)\};", TYPES, re.S)[0])
KINDS = {name: index for index, name in enumerate(_KIND_NAMES)}
_SCALAR = {
    **dict.fromkeys(ALU, "Alu"),
    "beq": "Branch",
    "blt": "Branch",
    "ld": "LoadWord",
    "st": "StoreWord",
    "sync": "Sync",
    "halt": "Halt",
}
_SPECIAL = ("vexp2", "vrecip", "vrsqrt")
_SERIAL = ("ld", "st", "sync", "halt")


@dataclass
class Trace:
    """One run.

    ``commands``: (n, fields of `types.h`) int64, each command once; ``order``: which of them are
    executed, one after another; ``jumps``: which of these are branches that are taken; ``numbers``:
    the rows of all gathers, in their order. ``repeats``: loops that were not followed to their end,
    (first, last, more): what is executed from place ``first`` up to ``last``, that not included,
    is executed so many times more. No run can be made of such a trace, only an estimate.
    """

    config: ChipConfig
    commands: NDArray[np.int64]
    order: NDArray[np.int32]
    jumps: NDArray[np.uint8]
    numbers: NDArray[np.int64]
    code_base: int
    code_count: int
    repeats: tuple[tuple[int, int, int], ...] = ()

    @property
    def times(self) -> NDArray[np.int64]:
        """How often each place of ``order`` is executed."""
        found = np.ones(len(self.order), np.int64)
        for first, last, more in self.repeats:
            found[first:last] += more
        return found


class _Recorder(ScalarMachine):
    """Follows a program and keeps what it executes; ``sram`` holds the lists of gathers."""

    def __init__(self, config: ChipConfig, code: bytes, sram: NDArray[np.uint8]) -> None:
        super().__init__(config, code)
        self._sram = sram
        self.path = []
        self.commands: list[Command] = []
        self.numbers: list[NDArray[np.int64]] = []

    def run(self, memory: NDArray[np.uint8], limit: int = 1 << 40) -> Iterator[Command]:
        for command in super().run(memory, limit):
            self.commands.append(command)
            if command.mnemonic == "gather":
                f = command.named()
                start, rows = int(f["hplane"]), int(f["rows"])
                words = self._sram[start : start + rows * INDEX_BYTES].view(np.uint32)
                self.numbers.append(words.astype(np.int64))
            yield command


def record(image: ProgramImage, core: FunctionalCore) -> Trace:
    """Run the program that ``core`` has loaded from ``image``; its memory changes as in any run."""
    core.machine = recorder = _Recorder(image.config, image.code, core.sram)
    core.run()
    return make_trace(image, recorder, recorder.commands, recorder.numbers)


def make_trace(
    image: ProgramImage,
    machine: ScalarMachine,
    commands: list[Command],
    numbers: list[NDArray[np.int64]],
) -> Trace:
    """From what ``machine`` has noted and yielded, and the rows of each gather."""
    assert machine.path is not None
    table = _Table(image.config, image.code)
    order = table.follow(machine.path, commands)
    jumps = np.zeros(len(order), np.uint8)
    jumps[machine.jumps] = 1
    rows = np.array(table.rows, np.int64).reshape(-1, len(FIELDS))
    gathered = np.concatenate([np.zeros(0, np.int64), *numbers])
    count = len(image.code) // INSTRUCTION_BYTES
    return Trace(image.config, rows, order, jumps, gathered, image.code_base, count)


class _Table:
    """Commands as rows, each once."""

    def __init__(self, config: ChipConfig, code: bytes) -> None:
        self._config, self._code = config, code
        self.rows: list[list[int]] = []
        self._known: dict[tuple, int] = {}
        self._unseen: dict[int, int] = {}  # instructions that `ScalarMachine` does not yield
        self._sees: dict[int, bool] = {}

    def follow(self, path: list[int], commands: list[Command]) -> NDArray[np.int32]:
        """The row of each executed instruction."""
        order, following = np.empty(len(path), np.int32), iter(commands)
        for place, pc in enumerate(path):
            if pc in self._unseen:
                order[place] = self._unseen[pc]
            elif self._sees.get(pc) or self._look(pc):
                order[place] = self._row(next(following))
            else:
                order[place] = self._unseen[pc]
        return order

    def _look(self, pc: int) -> bool:
        """Whether commands of this instruction are yielded; if not, its row is made."""
        op = decode(self._code[pc * INSTRUCTION_BYTES : (pc + 1) * INSTRUCTION_BYTES])
        scalar = op.spec.engine == Engine.SEQUENCER
        self._sees[pc] = not scalar or op.mnemonic in _SERIAL or bool(op.waits or op.signals)
        if not self._sees[pc]:
            self._unseen[pc] = len(self.rows)
            command = Command(pc, op.mnemonic, op.spec.engine, (), (), (), op)
            self.rows.append(row_of(self._config, command))
        return self._sees[pc]

    def _row(self, command: Command) -> int:
        key = command.pc, command.fields
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.rows)
            self.rows.append(row_of(self._config, command))
        return found


def row_of(config: ChipConfig, command: Command) -> list[int]:
    """A command's values of `FIELDS`."""
    values: dict[str, int] = {"pc": command.pc, "engine": int(command.engine)}
    for index, (semaphore, count) in enumerate(command.waits):
        values |= {f"wait_semaphore_{index}": semaphore, f"wait_count_{index}": count}
    values |= {f"signal_{index}": semaphore for index, semaphore in enumerate(command.signals)}
    values |= {"waits": len(command.waits), "signals": len(command.signals)}
    f = command.named() if command.engine != Engine.SEQUENCER else {}
    if command.engine == Engine.SEQUENCER:
        values["kind"] = KINDS[_SCALAR[command.mnemonic]]
        guarded = bool(command.waits or command.signals)
        values["serial"] = int(command.mnemonic in _SERIAL or guarded)
        values["address"] = command.fields[0] if command.mnemonic in ("ld", "st") else 0
    elif not f:
        values["kind"] = KINDS["Nop"]
    elif command.engine == Engine.MATRIX:
        values |= _matmul(config, f)
    elif command.engine == Engine.VECTOR:
        values |= _vector(config, command.mnemonic, f)
    else:
        values |= {name: int(value) for name, value in f.items()}
        values["kind"] = KINDS["Gather" if command.mnemonic == "gather" else "Copy"]
    row = [0] * len(FIELDS)
    for name, value in values.items():
        row[FIELDS[name]] = value
    return row


def _matmul(config: ChipConfig, f: dict) -> dict[str, int]:
    entry, transposed = FORMATS[f["wf"]], f["layout"] == "transposed"
    names = ("acc", "a", "astride", "w", "wstride", "wpanel", "m", "k", "n")
    scale_row = config.cols * entry.scale_bytes
    scales = -(-f["k"] // entry.block) * scale_row if entry.block else 0
    return {
        **{name: f[name] for name in names},
        "kind": KINDS["Matmul"],
        "accumulates": int(f["mode"] == "accumulate"),
        "transposed": int(transposed),
        "weight_unit": entry.bytes_of(config.rows if transposed else config.cols),
        "scale_header": -(-scales // config.line_bytes) * config.line_bytes,
        "scale_block": entry.block,
        "scale_row_bytes": scale_row,
    }


def _vector(config: ChipConfig, mnemonic: str, f: dict) -> dict[str, int]:
    size = dict.fromkeys(("i8", "e4m3", "e5m2"), config.byte_vector_bytes)
    size |= {"f32": config.f32_vector_bytes, "bf16": config.bf16_vector_bytes}
    kind = "Special" if mnemonic in _SPECIAL else "Reduce" if mnemonic in REDUCTIONS else "Move"
    names = ("dst", "dstride", "a", "astride", "rows")
    values = {name: f[name] for name in names}
    values |= {"kind": KINDS[kind], "columns": f["cols"], "result_bytes": size[f["dt"]]}
    values |= {"from_acc": int(f["at"] == "acc"), "a_bytes": size.get(f["at"], 0)}
    if mnemonic == "vrot" and f["cols"] > config.lanes:
        values["skip"] = f["rep"] // config.lanes
    if mnemonic in BINARY and f["bt"] != "scalar":
        divides = f["rep"] > 1 and f["bstride"] != 0
        values |= {name: f[name] for name in ("b", "bstride", "rep")}
        values |= {"reads_b": 1, "is_column": int(f["bt"] == "col"), "divides": int(divides)}
        values["b_bytes"] = size.get(f["bt"], 0)
    return values
