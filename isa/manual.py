"""Writes docs/isa.md from the tables: `python -m isa.manual [-o FILE] [--check]`."""

import argparse
import sys
from pathlib import Path

from isa import table
from isa.counters import COUNTERS, CYCLE_CLASSES
from isa.csr import REGISTERS
from isa.formats import FORMATS
from isa.table import Choice, Engine, Format, Instruction, Operand, Register
from isa.traps import TEXT, Cause

_INTRODUCTION = f"""\
# Instruction set

Generated from `isa/table.py` by `python -m isa.manual`; do not edit.

An instruction is one 256-bit word, {table.INSTRUCTION_BYTES} bytes, little-endian: a header that
all instructions share, then the fields of the engine's format. Bits that an instruction does not
use are 0. The sequencer fetches instructions from HBM, executes its own and hands the others to
the engines: in program order into one queue per engine. An engine executes its queue in order,
concurrently with the other engines. It may begin an instruction whose waits are met while the one
before is still at work, as if it had not: their effects are in order.

## Registers and operands

The sequencer has {table.REGISTERS} registers of 32 bits, r0 to r{table.REGISTERS - 1}; r0 reads
as zero. An *operand* of n bits takes n + 1: an immediate, and above it a flag that says that the
low {table.REGISTER_BITS} bits name a register instead, whose value, read when the instruction is
dispatched, must fit n bits. One program so serves every position: lengths and addresses are
register values. All registers and semaphores are 0 when a program starts; SRAM and accumulators
keep their content.

## Semaphores

There are {table.SEMAPHORES} counters of 16 bits, s0 to s{table.SEMAPHORES - 1}. An instruction
first takes up to {table.WAITS} *waits* one after another: each waits until the counter is at
least its count (1 to {(1 << table.WAIT_COUNT_BITS) - 1}) and subtracts the count. When everything
the instruction did is visible to all engines, up to {table.SIGNALS} *signals* each raise a
counter by one. Within an engine the order of instructions is kept; between engines only
semaphores, `sync` and `halt` order anything. Waits and signals fill their slots from 0 on; a
count of 0 is no wait.

A program's waits must be satisfied by signals of instructions *before* them in the program; the
sequencer counts along in program order and traps where that does not hold.

## Header

"""

_NUMBERS = """\
## Numbers

Defined bit by bit by `isa/numbers.py` and `isa/special.py`.

- fp32 is IEEE 754 binary32, rounded to nearest even. Subnormal inputs count as zeros of their
  sign; a result whose magnitude *before* rounding is below 2^-126 is a zero of its sign; every
  NaN result is 0x7FC00000.
- bf16 is the upper half of an fp32 value, with the same rules; fp32 becomes bf16 by rounding to
  nearest even.
- The array multiplies bf16, fp8 or int8 values, by the chip's configuration. Products of bf16 and
  of fp8 values are exact in fp32: what an fp8 array computes is what a bf16 array would. A column
  of the array starts with the product of its row 0 and adds those of row 1, 2, … one by one in
  fp32; K is cut into tiles of R rows (the last one filled up with zeros), whose sums are added to
  the accumulator in ascending order.
- An int8 array adds exactly, in int32 modulo 2^32; the vector unit reads its accumulators as fp32,
  rounded to nearest even.
- Results of type i8, e4m3, e5m2 are rounded to nearest even into the type's range (-128 … 127,
  ±448, ±57344; infinities too); NaN becomes 0 in i8, otherwise 0x7F. fp8 may be subnormal.
- `vsum` fills a row up with +0 to whole vectors; each lane adds its elements from vector to
  vector, then lane i adds lane i + s for s = lanes/2, lanes/4, …, 1.
- `vmax`, `vmin`, `vrmax`: NaN if any operand is; +0 is greater than -0.
- `vexp2`, `vrecip`, `vrsqrt`: at most 1 ulp from the exact value. 2^x is 0 below -126 and inf
  from 128; 1/±0 = ±inf, 1/±inf = ±0; 1/sqrt(±0) = ±inf, of negative numbers NaN.

## Memory

- HBM addresses are in atoms of 64 bytes, except the offset of `ld` and `st`. SRAM addresses are
  in bytes.
- Alignments: DMA in SRAM in lines (`line_bytes`), in HBM none; activations in R elements, weights
  in C elements of their format (transposed: R), of block formats panels in lines; vectors in as
  many elements as there are lanes. Strides have the alignment of their addresses.
- DMA reads and writes its rows byte by byte, whatever their length; only in SRAM a row that is
  written is filled up with zeros to a multiple of `lanes` bytes. A program's memory is a whole
  number of beats of the memory port, of which DMA reads more than the bytes of its rows. Rows that
  are only read may lie over each other.
- The vector unit works on whole vectors: elements of a result's last vector behind `cols` are
  written as +0, and reductions write one vector a row. A result may replace its source in
  the same rows with the same type and stride; it must not overlap its sources otherwise.
- At the array's edge, weights outside of K × N and activations outside of K are +0: accumulator
  columns from N on hold sums of products with zero.

"""


_FORMATS = """\
## Storage formats

Defined by `isa/formats.py`. The array's edge expands weights to the array's own format: element
times scale, rounded to bf16 where that is not exact (only `i4`). Scales run along K, one for each
block of a column. 4-bit elements lie two in a byte, the lower four bits first.

| format | bits | block | scale | arrays |
|---|---|---|---|---|
"""

_HOST = """\
The chip's AXI4-Lite port, 32-bit words (`isa/csr.py`). Writes while a program runs are refused with
an error response.
"""

_TRAPS = """\
## Traps

An instruction is checked when the sequencer hands it over, in program order. At a fault the chip
completes everything before that instruction and starts nothing of it or behind it; then it stops,
with the cause, the instruction's index and the place (the field's position in its format, or the
semaphore) in its control registers. Of several faults the first in this table counts, then the
first field. `WATCHDOG`, `BUS_ERROR` and `SRAM_ERROR` are found while time passes: they stop the
chip at once, with the index of the instruction that the sequencer has arrived at.

| code | cause | meaning |
|---|---|---|
"""


def _bits(offset: int, width: int) -> str:
    return f"{offset}" if width == 1 else f"{offset + width - 1}:{offset}"


def _header() -> list[str]:
    lines = ["| bits | field | meaning |", "|---|---|---|"]
    lines.append(f"| {_bits(0, table.OPCODE_BITS)} | opcode | which instruction |")
    for index in range(table.WAITS):
        start, half = table.wait_offset(index), table.SEMAPHORE_BITS
        lines.append(f"| {_bits(start, half)} | wait {index} | semaphore |")
        lines.append(f"| {_bits(start + half, table.WAIT_COUNT_BITS)} | | count |")
    for index in range(table.SIGNALS):
        start, half = table.signal_offset(index), table.SEMAPHORE_BITS
        lines.append(f"| {_bits(start, half)} | signal {index} | semaphore |")
        lines.append(f"| {_bits(start + half, 1)} | | valid |")
    return lines


def _kind(field: table.Field) -> str:
    if isinstance(field, Operand):
        default = f", {field.default} if not given" if field.default else ""
        return f"operand of {field.bits} bits{default}"
    if isinstance(field, Register):
        return "register"
    assert isinstance(field, Choice)
    return ", ".join(f"{code} = {value}" for code, value in enumerate(field.values))


def _format(fields: Format) -> list[str]:
    lines = ["| bits | field | kind | meaning |", "|---|---|---|---|"]
    for slot in fields.slots.values():
        field = slot.field
        bits = _bits(slot.offset, slot.width)
        lines.append(f"| {bits} | `{field.name}` | {_kind(field)} | {field.doc} |")
    return lines


def _instruction(instruction: Instruction) -> str:
    uses = ", ".join(f"`{name}`" for name in instruction.uses) or "none"
    doc = instruction.doc.replace("|", "\\|")
    return f"| 0x{instruction.opcode:02x} | `{instruction.mnemonic}` | {uses} | {doc} |"


def _engine(engine: Engine) -> list[str]:
    own = [entry for entry in table.INSTRUCTIONS if entry.engine == engine]
    fields = own[0].format
    lines = [f"## {engine.name.capitalize()}", ""]
    lines += [f"Format `{fields.name}`:", "", *_format(fields), ""]
    lines += ["| opcode | mnemonic | fields | meaning |", "|---|---|---|---|"]
    return [*lines, *map(_instruction, own), ""]


def manual() -> str:
    """The text of docs/isa.md."""
    lines = [*_header(), ""]
    for engine in Engine:
        lines += _engine(engine)
    counters = ["## Counters", "", "| counter | meaning |", "|---|---|"]
    counters += [f"| `{name}` | {meaning} |" for name, meaning in COUNTERS.items()]
    counters += ["", "Of the cycles that a program runs, each engine spends each in one class:", ""]
    counters += ["| class | the engine |", "|---|---|"]
    counters += [f"| `{name}` | {meaning} |" for name, meaning in CYCLE_CLASSES.items()]
    numbers = _NUMBERS + _FORMATS + "\n".join(_storage_formats()) + "\n\n" + _TRAPS
    counters += ["", "## Host registers", "", _HOST, "| offset | register | access | meaning |"]
    counters += ["|---|---|---|---|"]
    counters += [f"| 0x{r.offset:03x} | `{r.name}` | {r.access} | {r.doc} |" for r in REGISTERS]
    return "\n".join(
        [_INTRODUCTION + "\n".join(lines), numbers + "\n".join(_causes()), "", *counters, ""]
    )


def _storage_formats() -> list[str]:
    return [
        f"| `{entry.name}` | {entry.bits} | {entry.block or ''} | {entry.scale} | "
        f"{', '.join(entry.arrays)} |"
        for entry in FORMATS.values()
    ]


def _causes() -> list[str]:
    words = {"field": "a field", "bits": "field's", "where": "", "opcode": 0}
    return [
        f"| {cause.value} | `{cause.name}` | {TEXT[cause].format(**words).replace(' 0x00', '')} |"
        for cause in Cause
        if cause
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write the manual; with --check only compare, exit status 1 where the file is old."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/isa.md"))
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    options = parser.parse_args(arguments)
    text = manual()
    if not options.check:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text)
        return 0
    if options.output.exists() and options.output.read_text() == text:
        return 0
    print(f"{options.output} is not up to date: run python -m isa.manual", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
