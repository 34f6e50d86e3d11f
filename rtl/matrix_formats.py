"""What the formats in a matmul's command mean for the hardware."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data

from isa import rules_matrix
from isa.config import ChipConfig
from isa.formats import FORMATS, StorageFormat
from isa.table import MATRIX, Choice
from rtl.expand import CODES, kind_layout

# Formats whose elements are the same codes; every other format's code has the format's name.
_CODES = {"mxfp8": "e4m3", "mxfp8_e5m2": "e5m2", "mxfp4": "e2m1", "nvfp4": "e2m1"}
_VALUES = {field.name: field.values for field in MATRIX.fields if isinstance(field, Choice)}


class Operands:
    """A command's fields, for what `isa.rules_matrix` says of how weights lie in memory."""

    def __init__(self, command: data.View) -> None:
        self._command = command

    def value(self, name: str) -> Value:
        """An operand."""
        return self._command[name]

    def chosen(self, name: str, *values: str) -> Value:
        """Whether the choice ``name`` is one of ``values``."""
        codes = (_VALUES[name].index(value) for value in values)
        return Cat(Const(0), *(self._command[name] == code for code in codes)).any()

    def select(self, condition: ValueLike, one: ValueLike, other: ValueLike) -> Value:
        """``one`` if ``condition`` else ``other``."""
        return Mux(condition, one, other)


def weight_formats(config: ChipConfig) -> list[StorageFormat]:
    """What the array takes as weights."""
    return [entry for entry in FORMATS.values() if config.element in entry.arrays]


def block_formats(config: ChipConfig) -> list[StorageFormat]:
    """Those of them that have scales."""
    return [entry for entry in weight_formats(config) if entry.block]


def weight_bits(config: ChipConfig) -> list[int]:
    """The sizes that a weight can have, the smallest first."""
    return sorted({entry.bits for entry in weight_formats(config)})


def scale_rows(config: ChipConfig) -> int:
    """Blocks along K in a tile, at most; 0 on chips without block formats."""
    return max((max(1, config.rows // b.block) for b in block_formats(config)), default=0)


def by_format(command: data.View, entries: list[StorageFormat], values: list[int]) -> Value:
    """The value of the command's weight format."""
    operands = Operands(command)
    result: Value = Const(0)
    for chosen in sorted(set(values)):
        names = [e.name for e, value in zip(entries, values, strict=True) if value == chosen]
        result = Mux(operands.chosen("wf", *names), chosen, result)
    return result


def is_scaled(config: ChipConfig, command: data.View) -> Value:
    """Whether the weights have scales."""
    return Operands(command).chosen("wf", *(entry.name for entry in block_formats(config)))


def scale_header(config: ChipConfig, command: data.View) -> Value:
    """Bytes of scales in front of a panel's weights, whole lines."""
    return rules_matrix.scale_bytes(config, Operands(command))


def stored_bytes(config: ChipConfig, command: data.View) -> Value:
    """Bytes of C weights behind each other, or if transposed R."""
    return rules_matrix.weight_unit(config, Operands(command))


def weight_kind(m: Module, config: ChipConfig, command: data.View, scales: Value) -> Signal:
    """The expanders' `kind` for weights, or for their `scales`."""
    operands, entries = Operands(command), weight_formats(config)
    kind = Signal(kind_layout(config.element), name="weight_kind")
    for code in CODES[config.element]:
        weights = [e.name for e in entries if _CODES.get(e.name, e.name) == code]
        scaling = [e.name for e in entries if e.scale == code]
        is_code = Mux(scales, operands.chosen("wf", *scaling), operands.chosen("wf", *weights))
        m.d.comb += kind[code].eq(is_code)
    powers = [entry.name for entry in entries if entry.scale == "e8m0"]
    m.d.comb += [
        kind.scaled.eq(is_scaled(config, command) & ~scales),
        kind.power.eq(operands.chosen("wf", *powers)),
    ]
    return kind


def activation_kind(m: Module, config: ChipConfig, command: data.View) -> Signal:
    """The expanders' `kind` for activations of an fp8 array."""
    kind = Signal(kind_layout(config.element), name="activation_kind")
    for code in ("e4m3", "e5m2"):
        m.d.comb += kind[code].eq(Operands(command).chosen("af", code))
    return kind
