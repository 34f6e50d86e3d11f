"""ResultLane: one lane's result in the type of the destination."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.convert import to_byte
from rtl.float import to_bf16
from rtl.vector_settings import BYTE_KINDS, Kind


class ResultLane(wiring.Component):
    """Converts a canonical fp32 value; F32 leaves all bits as they are.

    Latency 1 cycle, no back-pressure: the register changes with `load` only.

    Members
    -------
    load : take a new value
    kind : type of the result
    keep : the value is wanted, otherwise it becomes zero
    x : fp32
    y : result, in the lowest bits
    """

    load: In(1)
    kind: In(Kind)
    keep: In(1)
    x: In(32)
    y: Out(32)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        half = to_bf16(m, self.x, "half")
        byte = to_byte(m, self.x, self.kind == Kind.I8, self.kind == Kind.E5M2, "byte")
        narrow = Cat(self.kind == kind for kind in BYTE_KINDS).any()
        stored = Mux(narrow, byte, Mux(self.kind == Kind.BF16, half, self.x))
        with m.If(self.load):
            m.d.sync += self.y.eq(Mux(self.keep, stored, 0))
        return m
