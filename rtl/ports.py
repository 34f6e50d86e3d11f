"""Signatures that the core's components share."""

from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.table import OPCODE_BITS, Choice, Format, Operand


class ReadPort(wiring.Signature):
    """A client's read access to the banked SRAM (client's point of view).

    Members
    -------
    valid, addr : request of line ``addr``; must stay until accepted
    ready : the request is accepted in this cycle
    data : the line, in the cycle after acceptance only
    """

    def __init__(self, config: ChipConfig):
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "addr": Out(line_address_bits(config)),
                "data": In(8 * config.line_bytes),
            }
        )


class WritePort(wiring.Signature):
    """A client's write access to the banked SRAM (client's point of view).

    Members
    -------
    valid, addr, data, mask : write of line ``addr``; must stay until accepted. ``mask`` has one
        bit per granule of ``config.byte_vector_bytes`` bytes
    ready : the write is accepted in this cycle; later reads see it
    """

    def __init__(self, config: ChipConfig):
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "addr": Out(line_address_bits(config)),
                "data": Out(8 * config.line_bytes),
                "mask": Out(config.line_bytes // config.byte_vector_bytes),
            }
        )


def line_address_bits(config: ChipConfig) -> int:
    """Bits of an SRAM line's number."""
    return (config.sram_lines - 1).bit_length()


def command_layout(fields: Format) -> data.StructLayout:
    """An engine's command: the opcode and the format's fields, operands already resolved."""
    members: dict[str, object] = {"opcode": unsigned(OPCODE_BITS)}
    for field in fields.fields:
        if isinstance(field, Operand):
            members[field.name] = unsigned(field.bits)
        elif isinstance(field, Choice):
            members[field.name] = unsigned(field.width)
    return data.StructLayout(members)
