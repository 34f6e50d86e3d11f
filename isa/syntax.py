"""One instruction as text: `vadd dst=0x100, a=r3, rows=2, cols=9  wait(s3, s4*2) signal(s5)`.

Values are integers (decimal, 0x…), registers r0 … r15, names of choices, names defined elsewhere
(labels), or fp32 numbers with a trailing f (1.5f), which stand for their bit pattern. Fields that
are not given have the table's defaults, choices their first value.
"""

import re
import struct
from collections.abc import Mapping

from isa.program import Op, Reg, Value, default_of
from isa.table import BY_MNEMONIC, Choice, Field, Register

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REGISTER = re.compile(r"r(\d+)")
_SEMAPHORES = re.compile(r"\b(wait|signal)\s*\(([^()]*)\)")
_SEMAPHORE = re.compile(r"s(\d+)(?:\s*\*\s*(\d+))?")
_HEX_FIELDS = frozenset({"hbm", "sram", "dst", "a", "w", "b"})  # addresses and bit patterns


def is_name(text: str) -> bool:
    """Whether labels and constants may be called so: a word that is no register."""
    return bool(_NAME.fullmatch(text)) and not _REGISTER.fullmatch(text)


def float_bits(text: str) -> int:
    """Bits of a number rounded to fp32; out of range gives infinity. ValueError if it is none."""
    number = float(text)
    try:
        return int.from_bytes(struct.pack("<f", number), "little")
    except OverflowError:
        return 0xFF800000 if number < 0 else 0x7F800000


def parse_number(text: str, names: Mapping[str, int]) -> int:
    """An integer, an fp32 bit pattern (…f) or a defined name."""
    if text in names:
        return names[text]
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        if text.endswith("f") and not text.startswith("0x"):
            return float_bits(text[:-1])
    except ValueError:
        pass
    raise ValueError(f"expected a number or a defined name, not {text!r}")


def parse_op(text: str, names: Mapping[str, int]) -> Op:
    """The instruction of one line without label and comment; all its fields are filled in."""
    waits: list[tuple[int, int]] = []
    signals: list[int] = []
    for kind, inside in _SEMAPHORES.findall(text):
        for item in filter(None, (part.strip() for part in inside.split(","))):
            semaphore, count = _parse_semaphore(item)
            if kind == "wait":
                waits.append((semaphore, int(count or 1)))
            elif count:
                raise ValueError(f"signal raises by one: expected s{semaphore}, not {item!r}")
            else:
                signals.append(semaphore)
    mnemonic, _, rest = _SEMAPHORES.sub(" ", text).strip().partition(" ")
    if mnemonic not in BY_MNEMONIC:
        raise ValueError(f"unknown instruction {mnemonic!r}")
    given = _parse_fields(mnemonic, rest, names)
    op = Op(mnemonic, given, tuple(waits), tuple(signals))
    return Op(mnemonic, {name: _default(op, name) for name in op.spec.uses}, op.waits, op.signals)


def _parse_semaphore(text: str) -> tuple[int, str | None]:
    match = _SEMAPHORE.fullmatch(text)
    if not match:
        raise ValueError(f"expected a semaphore s0 … s31 or s0*COUNT, not {text!r}")
    return int(match[1]), match[2]


def _default(op: Op, name: str) -> Value:
    described = op.spec.format.slots[name].field
    return op.fields.get(name, Reg(0) if isinstance(described, Register) else op.get(name))


def _parse_fields(mnemonic: str, text: str, names: Mapping[str, int]) -> dict[str, Value]:
    spec, fields = BY_MNEMONIC[mnemonic], dict[str, Value]()
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise ValueError(f"{mnemonic}: expected FIELD=VALUE, not {item!r}")
        if name in fields:
            raise ValueError(f"{mnemonic}: field {name!r} is given twice")
        if name not in spec.uses:
            wanted = ", ".join(spec.uses) or "none"
            raise ValueError(f"{mnemonic}: no field {name!r} (fields: {wanted})")
        try:
            fields[name] = _parse_value(spec.format.slots[name].field, value, names)
        except ValueError as error:
            raise ValueError(f"{mnemonic}: {name}: {error}") from None
    return fields


def _parse_value(described: Field, text: str, names: Mapping[str, int]) -> Value:
    if isinstance(described, Choice):
        return text  # checked by Op
    register = _REGISTER.fullmatch(text)
    return Reg(int(register[1])) if register else parse_number(text, names)


def format_op(op: Op, labels: Mapping[int, str] | None = None) -> str:
    """Text from which `parse_op` makes the same instruction; ``labels`` names branch targets."""
    items = []
    for name in op.spec.uses:
        value = op.get(name)
        described = op.spec.format.slots[name].field
        default = Reg(0) if isinstance(described, Register) else default_of(described)
        branch = name == "y" and op.mnemonic in ("beq", "blt")
        if value != default or branch:
            items.append(f"{name}={_format_value(op, name, value, labels or {})}")
    text = f"{op.mnemonic} {', '.join(items)}".rstrip()
    if op.waits:
        waits = (f"s{s}" if count == 1 else f"s{s}*{count}" for s, count in op.waits)
        text += f"  wait({', '.join(waits)})"
    if op.signals:
        text += f"  signal({', '.join(f's{s}' for s in op.signals)})"
    return text


def _format_value(op: Op, name: str, value: Value, labels: Mapping[int, str]) -> str:
    if isinstance(value, Reg):
        return f"r{value.index}"
    if isinstance(value, str):
        return value
    if name == "y" and op.mnemonic in ("beq", "blt") and value in labels:
        return labels[value]
    if name == "b" and (op.mnemonic == "vmask" or op.get("bt") == "scalar"):
        return _format_float(value)
    return hex(value) if name in _HEX_FIELDS and value > 9 else str(value)


def _format_float(bits: int) -> str:
    """The shortest decimal that rounds to the bit pattern; NaNs and infinities in hexadecimal."""
    (number,) = struct.unpack("<f", bits.to_bytes(4, "little"))
    if number - number != 0:
        return hex(bits)
    digits = next(d for d in range(1, 10) if float_bits(f"{number:.{d}g}") == bits)
    return f"{number:.{digits}g}f"
