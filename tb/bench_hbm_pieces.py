"""Bench of the cutting of bursts into pieces.

Parameters: `config` (of `ChipConfig.to_dict`), `bursts`, `stall`.
"""

import random

import cocotb

from isa.config import ChipConfig
from isa.hbm import COLUMN_BYTES
from rtl.axi import ADDRESS_BITS, ID_BITS
from rtl.hbm_pieces import piece_layout
from tb.agents import cycle, reset
from tb.axi_ends import Burst
from tb.coverage import Coverage
from tb.hbm_pieces_reference import MEMORY_BYTES, REFUSALS, Piece, cut, random_burst, refusal
from tb.runner import bench_parameters

_CHANNEL = ("id", "addr", "len", "size", "burst")


class Cutter:
    """Offers bursts, and takes the pieces of the one before at random; an agent."""

    def __init__(self, dut, config: ChipConfig, cover: Coverage, bursts: list, stall: float):
        self.dut, self.config, self.cover, self.stall = dut, config, cover, stall
        self.layout = piece_layout(config, ID_BITS)
        self.waiting: list[Burst] = bursts
        self.offered, self.identity = False, 0
        self.left: list[Piece] = []  # of the burst that is inside

    def idle(self) -> None:
        for name in (*_CHANNEL, "valid", "next"):
            getattr(self.dut, name).value = 0

    def drive(self) -> None:
        dut = self.dut
        self.offered = self.offered or bool(self.waiting and random.random() >= self.stall)
        dut.valid.value = int(self.offered)
        values = self.waiting[0].transfer() if self.offered else None
        for index, name in enumerate(_CHANNEL):
            port = getattr(dut, name)
            port.value = values[index] if values else random.getrandbits(len(port))
        self.next = bool(self.left) and random.random() >= self.stall
        dut.next.value = int(self.next)

    def sample(self) -> None:
        dut = self.dut
        assert bool(dut.active.value) == bool(self.left)
        if self.left:
            self._compare()
        free = not self.left or (self.next and len(self.left) == 1)
        assert bool(dut.ready.value) == free
        busy = bool(self.left)
        if self.next:
            self.left.pop(0)
        if self.offered and free:
            self.cover.hit("taken", "behind the last piece" if busy else "at rest")
            self._begin(self.waiting.pop(0))

    def _begin(self, burst: Burst) -> None:
        self.offered, self.identity, self.left = False, burst.identity, cut(self.config, burst)
        self.cover.hit("refused", refusal(self.config, burst))
        count = len(self.left)
        self.cover.hit("pieces", str(count) if count < 3 else "more")
        for piece in self.left:
            self.cover.hit("channel", piece.channel)

    def _compare(self) -> None:
        port = self.dut.piece
        got, wanted = self.layout.from_bits(int(port.value)), self.left[0]
        narrow = wanted.narrow_beats(self.config)
        assert got.addr == wanted.address, (hex(got.addr), wanted)
        assert (got.len + 1, got.beats) == (narrow, wanted.beats), wanted
        assert (got.channel if self.config.pseudo_channels > 1 else 0) == wanted.channel
        assert (got.burst, got.id) == (wanted.kind, self.identity), wanted
        assert got.last == int(len(self.left) == 1), wanted


@cocotb.test()
async def bursts_are_cut(dut) -> None:
    """Pieces are those of the reference, one a cycle; a burst follows the other at once."""
    sizes = bench_parameters()
    config = ChipConfig.from_dict(sizes["config"], "bench")
    cover = Coverage("hbm_pieces")
    cover.point("refused", {"why": REFUSALS})
    cover.point("pieces", {"count": ("1", "2", "more")})
    cover.point("channel", {"number": range(4)})
    cover.point("taken", {"when": ("at rest", "behind the last piece")})
    ids = 1 << ID_BITS
    bursts = [random_burst(config, ids, ADDRESS_BITS, 0.1) for _ in range(sizes["bursts"])]
    cutter = Cutter(dut, config, cover, bursts, sizes["stall"])
    await reset(dut, [cutter])
    dut.memory_columns.value = MEMORY_BYTES // COLUMN_BYTES
    while cutter.waiting or cutter.left:
        await cycle(dut, [cutter])
    await cycle(dut, [cutter])
    cover.save()
