"""The surroundings of both halves of the chip's port: masters and pseudo-channels, in benches."""

import random
from collections import Counter, deque

from isa.config import ChipConfig
from isa.hbm import BEAT_BYTES, COLUMN_BYTES
from rtl.axi import ADDRESS_BITS, ID_BITS
from rtl.timing import HBM_ORDER_DEPTH
from tb.agents import STATES, cycle, reset
from tb.axi_ends import Burst, ReadMaster, Sends, Takes, WriteMaster
from tb.coverage import Coverage
from tb.hbm_pieces_reference import INCR, MEMORY_BYTES, REFUSALS, Piece, cut, random_burst, refusal
from tb.memory_agents import PAGE_BYTES
from tb.noise import Noise

_LIMIT = 100_000  # cycles
_DEPTH = HBM_ORDER_DEPTH  # pieces under way
_CHANNELS = 4  # most of any chip here
_PARTS = 4  # most beats of a channel in one of the port
_OKAY, _SLVERR, _DECERR = 0, 2, 3
_STREAM = 60  # bursts of a stream


class Half:
    """What both halves have: bursts, the pieces that the channels must get, one after another."""

    def __init__(self, dut, config: ChipConfig, unit: str) -> None:
        self.dut, self.config = dut, config
        self.due: deque[Piece] = deque()  # to be asked of the channels
        self.names = [f"pc{index}" for index in range(config.pseudo_channels)]
        self.pieces = Counter()  # asked of each channel, and not answered to the end
        self.cover = cover = Coverage(unit)
        cover.point("refused", {"why": REFUSALS})
        cover.point("cycle", {"request": STATES, "answer": STATES})
        cover.point("channels under way", {"number": range(_CHANNELS + 1)})

    def random_bursts(self, count: int) -> list[Burst]:
        made = [random_burst(self.config, 1 << ID_BITS, ADDRESS_BITS, 0.06) for _ in range(count)]
        for burst in made:
            self.cover.hit("refused", refusal(self.config, burst))
        return made

    def stream(self) -> list[Burst]:
        """Whole pages, one behind the other."""
        width = self.config.axi_bytes
        beats, size = min(256, PAGE_BYTES // width), (width - 1).bit_length()
        starts = range(0, _STREAM * beats * width, beats * width)
        return [Burst(random.randrange(1 << ID_BITS), start, beats, size) for start in starts]

    def arrive(self, channel: int, request: tuple[int, ...]) -> Piece:
        """A channel has taken a request: it must be the next piece's."""
        identity, address, length, size, kind = request
        assert self.due, f"channel {channel}: a request too many"
        piece = self.due.popleft()
        got = channel, address, length + 1, 1 << size, kind, identity
        wanted = piece.channel, piece.address, piece.narrow_beats(self.config)
        assert got == (*wanted, BEAT_BYTES, piece.kind, 0), (got, piece)
        self.pieces[channel] += 1
        assert self.pieces.total() <= _DEPTH
        return piece

    async def run(self, master, agents: list) -> int:
        """Until all is answered; returns the cycles."""
        agents = [*master.agents, *agents]
        await reset(self.dut, agents)
        self.dut.memory_columns.value = MEMORY_BYTES // COLUMN_BYTES
        for now in range(_LIMIT):
            await cycle(self.dut, agents)
            if self.pieces.total():
                assert not self.dut.idle.value
            self.cover.hit("cycle", master.asks.state, master.state)
            self.cover.hit("channels under way", sum(map(bool, self.pieces.values())))
            if not master.due:
                assert not self.due
                assert self.dut.idle.value
                return now
        raise AssertionError(f"{len(master.due)} answers are missing")


class Reads(Half):
    """The read half. What a channel holds, and which of its beats are wrong, follows from their
    addresses."""

    def __init__(self, dut, config: ChipConfig, stall: float | None) -> None:
        super().__init__(dut, config, "hbm_split_reads")
        self.master = ReadMaster(dut, stall)
        self.content, self.faults = Noise(random.getrandbits(32)), Noise(random.getrandbits(32))
        self.cover.point("wrong beat", {"in a beat of the port": range(_PARTS)})
        self.beats, self.asks = [], []
        for index, name in enumerate(self.names):
            self.asks.append(Takes(dut, name, "ar", stall))
            self.beats.append(Sends(dut, name, "r", stall))
            self.asks[-1].on_take = lambda request, index=index: self._serve(index, request)
            self.beats[-1].on_take = lambda beat, index=index: self._leave(index, beat)

    def ask(self, burst: Burst) -> None:
        data, resp, width = [], [], self.config.axi_bytes
        for piece in cut(self.config, burst):
            self.due.append(piece)
            for start in range(piece.address, piece.address + piece.beats * width, width):
                places = range(start, start + width, BEAT_BYTES)
                beats = [self._beat(piece.kind, at) for at in places]
                data.append(sum(beat << 8 * BEAT_BYTES * n for n, (beat, _) in enumerate(beats)))
                wrong = [n for n, (_, answer) in enumerate(beats) if answer != _OKAY]
                resp.append(_SLVERR if wrong else _OKAY)
                if len(wrong) == 1:
                    self.cover.hit("wrong beat", wrong[0])
        self.master.ask(burst, data, resp)

    def _beat(self, kind: int, at: int) -> tuple[int, int]:
        """Data and answer of a channel's beat."""
        dice = self.faults[at : at + 1][0]
        answer = _SLVERR if dice < 4 or kind != INCR else _DECERR if dice < 6 else _OKAY
        return int.from_bytes(self.content[at : at + BEAT_BYTES], "little"), answer

    def _serve(self, channel: int, request: tuple[int, ...]) -> None:
        piece = self.arrive(channel, request)
        count = piece.narrow_beats(self.config)
        for index in range(count):
            data, answer = self._beat(piece.kind, piece.address + index * BEAT_BYTES)
            self.beats[channel].queue.append((0, data, answer, int(index == count - 1)))

    def _leave(self, channel: int, beat: tuple[int, ...]) -> None:
        self.pieces[channel] -= beat[-1]

    async def run_all(self, bursts: list[Burst]) -> int:
        for burst in bursts:
            self.ask(burst)
        return await self.run(self.master, [*self.asks, *self.beats])


class Writes(Half):
    """The write half. A channel answers when it has all beats; which pieces are wrong follows from
    their addresses."""

    def __init__(self, dut, config: ChipConfig, stall: float | None) -> None:
        super().__init__(dut, config, "hbm_split_writes")
        self.master, self.faults = WriteMaster(dut, stall), Noise(random.getrandbits(32))
        self.cover.point("burst", {"first piece": ("right", "wrong"), "last": ("right", "wrong")})
        self.beats: list[deque] = [deque() for _ in self.names]  # that the channels must get
        self.asked: list[deque] = [deque() for _ in self.names]  # pieces without all beats
        self.got = Counter()  # whole pieces of beats
        self.agents, self.answers = [], []
        for index, name in enumerate(self.names):
            ends = Takes(dut, name, "aw", stall), Takes(dut, name, "w", stall)
            self.answers.append(Sends(dut, name, "b", stall))
            self.agents += [*ends, self.answers[-1]]
            ends[0].on_take = lambda request, index=index: self._asked(index, request)
            ends[1].on_take = lambda beat, index=index: self._beat(index, beat)
            self.answers[-1].on_take = lambda answer, index=index: self._answered(index)

    def ask(self, burst: Burst) -> None:
        wide, wrong, width = [], [], self.config.axi_bytes
        for piece in cut(self.config, burst):
            self.due.append(piece)
            wrong.append(self._answer(piece) != _OKAY)
            count = piece.narrow_beats(self.config)
            data, strobes = random.randbytes(count * BEAT_BYTES), random.getrandbits(8 * count * 2)
            for n in range(count):
                beat = int.from_bytes(data[n * BEAT_BYTES :][:BEAT_BYTES], "little")
                enabled = strobes >> n * BEAT_BYTES & (1 << BEAT_BYTES) - 1
                self.beats[piece.channel].append((beat, enabled, int(n == count - 1)))
            for n in range(piece.beats):
                beat = int.from_bytes(data[n * width :][:width], "little")
                wide.append((beat, strobes >> n * width & (1 << width) - 1))
        if len(wrong) > 1:
            self.cover.hit("burst", *("wrong" if end else "right" for end in (wrong[0], wrong[-1])))
        self.master.ask(burst, wide, _SLVERR if any(wrong) else _OKAY)

    def _answer(self, piece: Piece) -> int:
        dice = self.faults[piece.address : piece.address + 1][0]
        wrong = dice < 16 or piece.kind != INCR
        return _SLVERR if wrong else _DECERR if dice < 24 else _OKAY

    def _asked(self, channel: int, request: tuple[int, ...]) -> None:
        self.asked[channel].append(self.arrive(channel, request))
        self._finish(channel)

    def _beat(self, channel: int, beat: tuple[int, ...]) -> None:
        assert self.beats[channel], f"channel {channel}: a beat too many"
        assert beat == self.beats[channel].popleft(), f"channel {channel}: a wrong beat"
        self.got[channel] += beat[-1]
        self._finish(channel)

    def _finish(self, channel: int) -> None:
        while self.got[channel] and self.asked[channel]:
            self.got[channel] -= 1
            self.answers[channel].queue.append((0, self._answer(self.asked[channel].popleft())))

    def _answered(self, channel: int) -> None:
        self.pieces[channel] -= 1

    async def run_all(self, bursts: list[Burst]) -> int:
        for burst in bursts:
            self.ask(burst)
        return await self.run(self.master, self.agents)
