"""What stays the same for all vectors of an instruction."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from rtl.special import Function


class Kind(enum.Enum, shape=3):
    """How a source is stored, and where: ACC in the accumulators, COL one fp32 value for a row.

    The types among them are also those of results.
    """

    F32 = 0
    BF16 = 1
    I8 = 2
    E4M3 = 3
    E5M2 = 4
    ACC = 5
    COL = 6


BYTE_KINDS = (Kind.I8, Kind.E4M3, Kind.E5M2)


class Alu(enum.Enum, shape=4):
    """What a lane does with its elements of a and b."""

    MOVE = 0
    ADD = 1
    SUBTRACT = 2
    MULTIPLY = 3
    MAXIMUM = 4
    MINIMUM = 5
    ROTATE = 6
    SPECIAL = 7
    ABSOLUTE = 8


def settings_layout(lanes: int) -> data.StructLayout:
    """The settings of an instruction.

    alu, function, reduce : see `Alu`, `Function`; rows become one value each
    index : of a MAXIMUM that is reduced, its place is the result
    kind_a, kind_b, kind : types of the sources and of the result
    pair, scalar : there is a second source; it is the value `b`
    mask, far, limit : elements of row 0 before `limit` stay, with `far` those from it on; each
        row has one more before
    tail : lanes of a row's last vector that hold elements
    shift, wrap, stay : vrot inside a vector: lane i takes lane i + shift (below `stay`) or
        i + wrap, both modulo the lanes
    """
    places = (lanes - 1).bit_length()
    return data.StructLayout(
        {
            "alu": Alu,
            "function": Function,
            "reduce": 1,
            "index": 1,
            "kind_a": Kind,
            "kind_b": Kind,
            "kind": Kind,
            "pair": 1,
            "scalar": 1,
            "b": unsigned(32),
            "mask": 1,
            "far": 1,
            "limit": signed(17),
            "tail": unsigned(lanes),
            "shift": unsigned(places),
            "wrap": unsigned(places),
            "stay": unsigned(places + 1),
        }
    )
