"""Answers: to which address an answer of the memory belongs."""

from collections.abc import Mapping

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from isa.config import HBM_ATOM_BYTES, ChipConfig
from rtl.axi import ADDRESS_BITS, ID_BITS, READ_IDS, WRITE_IDS, beat_shift
from rtl.fetch import BURSTS as FETCH_BURSTS


def read_depths(config: ChipConfig) -> dict[int, int]:
    """Read id → bursts that its client has under way at most."""
    depths = {"fetch": FETCH_BURSTS, "scalar": 1, "load": config.load_bursts}
    return {READ_IDS.index(name): depth for name, depth in depths.items()}


def write_depths(config: ChipConfig) -> dict[int, int]:
    """Write id → the same."""
    depths = {"scalar": 1, "store": config.store_bursts}
    return {WRITE_IDS.index(name): depth for name, depth in depths.items()}


class Answers(wiring.Component):
    """Follows one direction of the memory port, whose answers come in order for each id.

    ``depths``: id → bursts under way at most.

    Members
    -------
    asked, asked_id, asked_addr : an address is taken in this cycle
    beat, id, last : a beat, or a write's response, is taken; it is the burst's last
    atom : where it belongs, in atoms of 64 bytes; valid with `beat`
    """

    def __init__(self, config: ChipConfig, depths: Mapping[int, int]):
        self._shift, self._depths = beat_shift(config), depths
        super().__init__(
            {
                "asked": In(1),
                "asked_id": In(ID_BITS),
                "asked_addr": In(ADDRESS_BITS),
                "beat": In(1),
                "id": In(ID_BITS),
                "last": In(1),
                "atom": Out(ADDRESS_BITS - (HBM_ATOM_BYTES - 1).bit_length()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, places = ADDRESS_BITS - self._shift, []
        for identity, depth in self._depths.items():
            m.submodules[f"of_{identity}"] = bursts = fifo.SyncFIFO(width=bits, depth=depth)
            mine, beats, place = Signal(), Signal(bits), Signal(bits, name=f"place_{identity}")
            m.d.comb += [
                bursts.w_en.eq(self.asked & (self.asked_id == identity)),
                bursts.w_data.eq(self.asked_addr >> self._shift),
                mine.eq(self.beat & (self.id == identity)),
                bursts.r_en.eq(mine & self.last),
                place.eq(bursts.r_data + beats),
            ]
            with m.If(mine):
                m.d.sync += beats.eq(beats + 1)
            with m.If(bursts.r_en):
                m.d.sync += beats.eq(0)
            places.append(place)
        atom = Array(places)[self.id] << self._shift >> (HBM_ATOM_BYTES - 1).bit_length()
        m.d.comb += self.atom.eq(atom)
        return m
