"""What a vector instruction asks of each part of the vector unit."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, enum

from isa.config import F32_BYTES, ChipConfig
from isa.table import BY_MNEMONIC, VECTOR, Choice
from rtl.special import Function
from rtl.vector_operand import Kind, operand_address_bits
from rtl.vector_walk import walk_layout


class Alu(enum.Enum, shape=3):
    """What a lane does with its elements of a and b."""

    MOVE = 0
    ADD = 1
    SUBTRACT = 2
    MULTIPLY = 3
    MAXIMUM = 4
    MINIMUM = 5
    ROTATE = 6
    SPECIAL = 7


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
    "vmask": Alu.MOVE,
    "vrot": Alu.ROTATE,
}
_FUNCTION = {"vexp2": Function.EXP2, "vrecip": Function.RECIP, "vrsqrt": Function.RSQRT}


def settings_layout(lanes: int) -> data.StructLayout:
    """What stays the same for all vectors of an instruction.

    alu, function, reduce : see `Alu`, `Function`; rows become one value each
    pair, scalar : there is a second source; it is the value `b`
    mask, limit : vmask; elements of row 0 that stay
    tail : lanes of a row's last vector that hold elements
    bf16 : the result's type
    shift, wrap, stay : vrot inside a vector: lane i takes lane i + shift (below `stay`) or
        i + wrap, both modulo the lanes
    """
    places = (lanes - 1).bit_length()
    return data.StructLayout(
        {
            "alu": Alu,
            "function": Function,
            "reduce": 1,
            "pair": 1,
            "scalar": 1,
            "b": unsigned(32),
            "mask": 1,
            "limit": unsigned(16),
            "tail": unsigned(lanes),
            "bf16": 1,
            "shift": unsigned(places),
            "wrap": unsigned(places),
            "stay": unsigned(places + 1),
        }
    )


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

    def _chosen(self, field: str, value: str) -> Value:
        choice = VECTOR.slots[field].field
        assert isinstance(choice, Choice)
        return self._command[field] == choice.values.index(value)

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
        pairs = self._is("vadd", "vsub", "vmul", "vmax", "vmin")
        last_lane = (command.cols - 1)[: self._places]
        m.d.comb += [
            settings.reduce.eq(self._is("vsum", "vrmax")),
            settings.pair.eq(pairs),
            settings.scalar.eq(self._chosen("bt", "scalar")),
            settings.b.eq(command.b),
            settings.mask.eq(self._is("vmask")),
            settings.limit.eq(command.rep),
            settings.tail.eq(Cat(last_lane >= lane for lane in range(self._config.lanes))),
            settings.bf16.eq(self._chosen("dt", "bf16")),
            settings.shift.eq(command.rep),
            settings.wrap.eq(command.rep - command.cols),
            settings.stay.eq(command.cols - command.rep),
        ]
        return settings

    def reads_b(self) -> Value:
        """Whether vectors of a second source are to be read."""
        pairs = self._is("vadd", "vsub", "vmul", "vmax", "vmin")
        return pairs & ~self._chosen("bt", "scalar")

    def kind_a(self) -> Value:
        by_type = Mux(self._chosen("at", "bf16"), Kind.BF16.value, Kind.F32.value)
        return Mux(self._chosen("at", "acc"), Kind.ACC.value, by_type)

    def kind_b(self) -> Value:
        by_type = Mux(self._chosen("bt", "bf16"), Kind.BF16.value, Kind.F32.value)
        return Mux(self._chosen("bt", "col"), Kind.COL.value, by_type)

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
        reduces = self._is("vsum", "vrmax")
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
