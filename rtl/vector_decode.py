"""What a vector instruction asks of each part of the vector unit."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from isa.config import F32_BYTES, ChipConfig
from isa.rules import BINARY, REDUCTIONS
from isa.table import BY_MNEMONIC, VECTOR, Choice
from rtl.float import wire
from rtl.special import Function
from rtl.vector_operand import operand_address_bits
from rtl.vector_settings import Alu, Kind, settings_layout
from rtl.vector_walk import walk_layout

_ALU = {
    "vmov": Alu.MOVE,
    "vadd": Alu.ADD,
    "vsub": Alu.SUBTRACT,
    "vmul": Alu.MULTIPLY,
    "vmax": Alu.MAXIMUM,
    "vmin": Alu.MINIMUM,
    "vexp2": Alu.SPECIAL,
    "vrecip": Alu.SPECIAL,
    "vrsqrt": Alu.SPECIAL,
    "vsum": Alu.ADD,
    "vrmax": Alu.MAXIMUM,
    "vargmax": Alu.MAXIMUM,
    "vmask": Alu.MOVE,
    "vmaskl": Alu.MOVE,
    "vabs": Alu.ABSOLUTE,
    "vrot": Alu.ROTATE,
}
_FUNCTION = {"vexp2": Function.EXP2, "vrecip": Function.RECIP, "vrsqrt": Function.RSQRT}
# By the names that types have in instructions; the scalar's value has no place and no type.
_KIND = {
    "f32": Kind.F32,
    "bf16": Kind.BF16,
    "i8": Kind.I8,
    "e4m3": Kind.E4M3,
    "e5m2": Kind.E5M2,
    "acc": Kind.ACC,
    "col": Kind.COL,
    "scalar": Kind.F32,
}


class Decoder:
    """Adds to module `m` the decoding of `command` (a view of `command_layout(VECTOR)`)."""

    def __init__(self, m: Module, config: ChipConfig, command: data.View):
        self._m, self._config, self._command = m, config, command
        self._bits = operand_address_bits(config)
        self._places = (config.lanes - 1).bit_length()  # log2 of the lanes
        self._last = (command.cols - 1)[:20] >> self._places
        self._rotate = self._is("vrot")
        self._whole = command.cols > config.lanes  # vrot moves whole vectors

    def _is(self, *mnemonics: str) -> Value:
        return Cat(self._command.opcode == BY_MNEMONIC[name].opcode for name in mnemonics).any()

    def _choice(self, field: str) -> Choice:
        choice = VECTOR.slots[field].field
        assert isinstance(choice, Choice)
        return choice

    def _chosen(self, field: str, value: str) -> Value:
        return self._command[field] == self._choice(field).values.index(value)

    def _kind(self, field: str) -> Value:
        """`Kind` of the type that `field` chooses."""
        first, *others = (_KIND[value].value for value in self._choice(field).values)
        kind: Value | int = first
        for index, other in enumerate(others, start=1):
            kind = Mux(self._command[field] == index, other, kind)
        return Value.cast(kind)

    def settings(self) -> Signal:
        """The instruction's `settings_layout`."""
        m, command = self._m, self._command
        settings = Signal(settings_layout(self._config.lanes))
        with m.Switch(command.opcode):
            for name, alu in _ALU.items():
                with m.Case(BY_MNEMONIC[name].opcode):
                    used = Mux(self._whole, Alu.MOVE, alu) if alu is Alu.ROTATE else alu
                    m.d.comb += settings.alu.eq(used)
                    if name in _FUNCTION:
                        m.d.comb += settings.function.eq(_FUNCTION[name])
        last_lane = wire(m, (command.cols - 1)[: self._places], "last_lane")
        signed_limit = self._is("vmaskl")
        m.d.comb += [
            settings.reduce.eq(self._is(*REDUCTIONS)),
            settings.index.eq(self._is("vargmax")),
            settings.kind_a.eq(self._kind("at")),
            settings.kind_b.eq(self._kind("bt")),
            settings.kind.eq(self._kind("dt")),
            settings.pair.eq(self._is(*BINARY)),
            settings.scalar.eq(self._chosen("bt", "scalar")),
            settings.b.eq(command.b),
            settings.mask.eq(self._is("vmask", "vmaskl")),
            settings.far.eq(signed_limit),
            settings.limit.eq(Cat(command.rep, command.rep[-1] & signed_limit)),
            settings.tail.eq(Cat(last_lane >= lane for lane in range(self._config.lanes))),
            settings.shift.eq(command.rep),
            settings.wrap.eq(command.rep - command.cols),
            settings.stay.eq(command.cols - command.rep),
        ]
        return settings

    def reads_b(self) -> Value:
        """Whether vectors of a second source are to be read."""
        return self._is(*BINARY) & ~self._chosen("bt", "scalar")

    def _acc_bytes(self, rows: Value) -> Value:
        """Accumulator rows as bytes."""
        return Cat(Const(0, (F32_BYTES * self._config.cols - 1).bit_length()), rows)[: self._bits]

    def panel(self) -> Value:
        """Distance of panels in bytes, for a source in the accumulators."""
        return self._acc_bytes(self._command.astride)

    def walk_a(self) -> Signal:
        command, acc = self._command, self._chosen("at", "acc")
        walk = self._walk(
            base=Mux(acc, self._acc_bytes(command.a), command.a),
            stride=Mux(acc, F32_BYTES * self._config.cols, command.astride),
        )
        skip = command.rep >> self._places
        self._m.d.comb += [
            walk.last_vector.eq(self._last),
            walk.skip.eq(Mux(self._rotate & self._whole, skip, 0)),
        ]
        return walk

    def walk_b(self) -> Signal:
        walk = self._walk(base=self._command.b, stride=self._command.bstride)
        self._m.d.comb += [
            walk.last_vector.eq(self._last),
            walk.repeat.eq(self._command.rep),
        ]
        return walk

    def walk_dst(self) -> Signal:
        walk = self._walk(base=self._command.dst, stride=self._command.dstride)
        reduces = self._is(*REDUCTIONS)
        self._m.d.comb += walk.last_vector.eq(Mux(reduces, 0, self._last))
        return walk

    def _walk(self, base: Value, stride: Value) -> Signal:
        walk = Signal(walk_layout(self._bits))
        self._m.d.comb += [
            walk.base.eq(base),
            walk.stride.eq(stride),
            walk.rows.eq(self._command.rows),
        ]
        return walk
