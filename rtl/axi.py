"""The memory port: AXI4 as a signature, and the narrower interfaces of its clients inside the core.

Every access is made of whole beats: addresses are aligned to the beat, the size is the port's
width, bursts are INCR. An answer other than OKAY stops the core (`rtl.top`); clients do not see it.
"""

from amaranth.hdl import Const, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import HBM_ATOM_BYTES, ChipConfig

ADDRESS_BITS = 32 + (HBM_ATOM_BYTES - 1).bit_length()  # operands are in atoms, 32 bits
LENGTH_BITS = 8
ID_BITS = 2
BURST_INCR = Const(1, 2)
READ_IDS = ("fetch", "scalar", "load")  # position = id
WRITE_IDS = ("scalar", "store")

REQUEST = data.StructLayout({"addr": unsigned(ADDRESS_BITS), "len": unsigned(LENGTH_BITS)})


def beat_shift(config: ChipConfig) -> int:
    """log2 of the bytes of a beat; also AxSIZE."""
    return (config.axi_bytes - 1).bit_length()


class Axi4(wiring.Signature):
    """AXI4 seen from the master; members have the standard's names, in lower case.

    Left out because nothing uses them: lock, cache, protection, quality of service, user bits.
    """

    def __init__(self, beat_bytes: int, id_bits: int = ID_BITS):
        bits = 8 * beat_bytes
        request = {"id": id_bits, "addr": ADDRESS_BITS, "len": LENGTH_BITS, "size": 3, "burst": 2}
        members: dict[str, object] = {}
        for channel in ("ar", "aw"):
            members |= {f"{channel}{name}": Out(width) for name, width in request.items()}
            members |= {f"{channel}valid": Out(1), f"{channel}ready": In(1)}
        write = {"data": bits, "strb": beat_bytes, "last": 1, "valid": 1}
        members |= {f"w{name}": Out(width) for name, width in write.items()}
        members |= {"wready": In(1)}
        read = {"id": id_bits, "data": bits, "resp": 2, "last": 1, "valid": 1}
        members |= {f"r{name}": In(width) for name, width in read.items()}
        members |= {"rready": Out(1)}
        members |= {"bid": In(id_bits), "bresp": In(2), "bvalid": In(1), "bready": Out(1)}
        super().__init__(members)


class AxiPort(Axi4):
    """The core's memory port."""

    def __init__(self, config: ChipConfig):
        super().__init__(config.axi_bytes)


class ReadClient(wiring.Signature):
    """A read client's view of the memory: bursts are requested, their beats come back in order.

    Members
    -------
    request : stream of (addr: byte address, len: beats - 1)
    valid, data, last, ready : the beats; ``last`` marks the end of each burst
    """

    def __init__(self, config: ChipConfig):
        super().__init__(
            {
                "request": Out(stream.Signature(REQUEST)),
                "valid": In(1),
                "data": In(8 * config.axi_bytes),
                "last": In(1),
                "ready": Out(1),
            }
        )


class WriteClient(wiring.Signature):
    """A write client's view of the memory.

    Members
    -------
    request : stream of (addr: byte address, len: beats - 1)
    valid, data, strb, last, ready : the beats of the burst requested, offered with the request or
        after it
    response : pulses once for each burst that memory has acknowledged
    """

    def __init__(self, config: ChipConfig):
        super().__init__(
            {
                "request": Out(stream.Signature(REQUEST)),
                "valid": Out(1),
                "data": Out(8 * config.axi_bytes),
                "strb": Out(config.axi_bytes),
                "last": Out(1),
                "ready": In(1),
                "response": In(1),
            }
        )
