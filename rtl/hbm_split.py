"""What the halves of the chip's port share: pieces of bursts go to their pseudo-channels."""

from amaranth.hdl import Array, Module, Value
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.hbm import BEAT_BYTES
from rtl.axi import ID_BITS, Axi4, AxiPort
from rtl.hbm_burst import SIZE_BITS, ask
from rtl.hbm_pieces import Pieces, piece_layout
from rtl.timing import HBM_ORDER_DEPTH


def channel_names(config: ChipConfig) -> list[str]:
    """Members that stand for the pseudo-channels, in the order of their numbers."""
    return [f"pc{index}" for index in range(config.pseudo_channels)]


def channel_port() -> Axi4:
    """What a controller of one pseudo-channel is asked; all with id 0."""
    return Axi4(BEAT_BYTES, 1)


class Split(wiring.Component):
    """One half of the port: its bursts are cut into pieces, which are offered one a cycle.

    Members
    -------
    axi : this half's channels of the chip's port (master's point of view); the others idle
    memory_columns : size of the memory
    idle : every burst is answered
    pc0, pc1, … : this half's channels of the controllers' ports
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "axi": In(AxiPort(config)),
                "memory_columns": In(SIZE_BITS),
                "idle": Out(1),
                **{name: Out(channel_port()) for name in channel_names(config)},
            }
        )

    @property
    def _channels(self) -> list[wiring.PureInterface]:
        return [getattr(self, name) for name in channel_names(self._config)]

    def _cut(self, m: Module, prefix: str, room: Value) -> Pieces:
        """Bursts of the address channel ``prefix`` (ar, aw); a piece goes only while there is
        ``room`` for what is kept of it."""
        m.submodules.pieces = pieces = Pieces(self._config, ID_BITS)
        ask(m, self.axi, prefix, pieces)
        piece, ready = pieces.piece, []
        for index, channel in enumerate(self._channels):
            names = ("addr", "len", "burst", "size", "valid", "ready")
            addr, length, burst, size, valid, taken = (
                getattr(channel, f"{prefix}{name}") for name in names
            )
            ready.append(taken)
            m.d.comb += [
                addr.eq(piece.addr),
                length.eq(piece.len),
                burst.eq(piece.burst),
                size.eq((BEAT_BYTES - 1).bit_length()),
                valid.eq(pieces.active & room & (piece.channel == index)),
            ]
        m.d.comb += [
            pieces.memory_columns.eq(self.memory_columns),
            pieces.next.eq(pieces.active & room & Array(ready)[piece.channel]),
        ]
        return pieces

    def _queue(self, *names: str) -> tuple[fifo.SyncFIFO, data.StructLayout]:
        """For these fields of the pieces under way."""
        whole = piece_layout(self._config, ID_BITS)
        layout = data.StructLayout({name: whole[name].shape for name in names})
        return fifo.SyncFIFO(width=layout.size, depth=HBM_ORDER_DEPTH), layout
