"""Random copies for the benches of both DMA engines, and what of them must have been seen."""

import random
from collections.abc import Iterator

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.table import BY_MNEMONIC
from rtl.dma import COMMAND
from tb.coverage import Coverage
from tb.memory_agents import PAGE_BYTES

MEMORY_BYTES = 1 << 16  # comes again and again in the address space
LENGTHS = ("one line", "below a burst", "one burst", "above a burst")
STRIDES = ("touching", "apart")
Copy = dict[str, int]


class Copies:
    """`all`: copies inside the SRAM and 2^32 atoms of HBM. Rows in HBM start at any atom, so that
    bursts meet 4 KiB. With `rows` there is one copy, of so many short rows, all in one place.

    `cover` gets points of copies and of the bursts that they become.
    """

    def __init__(self, cover: Coverage, config: ChipConfig, count: int, rows: int = 0) -> None:
        self.cover, self.config = cover, config
        self.all = [self._random(index) for index in range(count)]
        if rows:
            short = {"rows": rows, "bytes": config.line_bytes, "hstride": 0, "sstride": 0}
            self.all = [self._random(0) | short]
        cover.point("copies", {"rows": ("1", "2", "more"), "row": LENGTHS})
        cover.point("strides", {"HBM": STRIDES, "SRAM": STRIDES})
        cover.point("burst ends at", {"end": ("beats", "row", "page", "row and page")})
        one = "a line is two beats, and rows start at atoms of 64 bytes"
        cover.point("burst", {"beats": ("1", "2", "more", "longest")}, {("1",): one})

    def payloads(self) -> Iterator[int]:
        """Of the command stream."""
        return (COMMAND.const(copy).as_value().value for copy in self.all)

    def places(self, copy: Copy) -> Iterator[tuple[int, int]]:
        """(HBM byte address, SRAM byte) of each row."""
        for row in range(copy["rows"]):
            hbm = HBM_ATOM_BYTES * (copy["hbm"] + row * copy["hstride"])
            yield hbm, copy["sram"] + row * copy["sstride"]

    def check(self, copy: Copy, bursts: list[tuple[int, int]]) -> None:
        """The bursts (address, beats) are the copy's rows in order, each as long as can be."""
        self._cover(copy)
        left = list(bursts)
        for start, _ in self.places(copy):
            self._check_row(start, start + copy["bytes"], left)
        assert not left, f"more bursts than the copy has: {left}"

    def _check_row(self, at: int, end: int, left: list[tuple[int, int]]) -> None:
        longest, beat = self.config.burst_beats, self.config.axi_bytes
        while at < end:
            page = (at // PAGE_BYTES + 1) * PAGE_BYTES
            beats = min(longest, (end - at) // beat, (page - at) // beat)
            assert left[:1] == [(at, beats)], f"wanted {beats} beats at {at:#x}, not {left[:1]}"
            left.pop(0)
            at += beats * beat
            names = {(1, 1): "row and page", (1, 0): "row", (0, 1): "page", (0, 0): "beats"}
            self.cover.hit("burst ends at", names[at == end, at == page])
            few = str(beats) if beats < 3 else "more"
            self.cover.hit("burst", "longest" if beats == longest else few)

    def _random(self, index: int) -> Copy:
        """Fifteen in a row have every kind of size, twelve every kind of distance; one of twenty
        fills the SRAM with one or two rows, or nearly."""
        config = self.config
        line, lines = config.line_bytes, config.burst_beats * config.axi_bytes // config.line_bytes
        sizes = (1, random.randint(2, lines - 1), lines, lines + random.randint(1, 3), 5 * lines)
        length, rows = line * sizes[index // 3 % 5], (1, 2, random.randint(3, 7))[index % 3]
        if index % 20 == 19:
            rows = 1 + index // 20 % 2
            length = config.sram_bytes // rows - line * random.randrange(4, 9)
        hstride = -(-length // HBM_ATOM_BYTES) + (index >> 1 & 1) * random.randint(1, 4)
        if index % 10 == 7:
            hstride |= random.getrandbits(COMMAND["hstride"].width)
        sstride = length + line * (index & 1) * random.randint(1, 4)
        page = PAGE_BYTES // HBM_ATOM_BYTES
        places = (1 << COMMAND["hbm"].width) - rows * hstride
        near_page = page * random.randrange(1, places // page) - random.randint(1, 3)
        lines = (config.sram_bytes - (rows - 1) * sstride - length) // line + 1
        return {
            "opcode": BY_MNEMONIC["load"].opcode,  # neither engine looks at it
            "hbm": random.choice([near_page, random.randrange(places)]),
            "hstride": hstride,
            "sram": line * random.randrange(lines),
            "sstride": sstride,
            "rows": rows,
            "bytes": length,
        }

    def _cover(self, copy: Copy) -> None:
        burst, length = self.config.burst_beats * self.config.axi_bytes, copy["bytes"]
        kind = LENGTHS[1 + (length >= burst) + (length > burst)]
        rows = str(copy["rows"]) if copy["rows"] < 3 else "more"
        self.cover.hit("copies", rows, LENGTHS[0] if length == self.config.line_bytes else kind)
        if copy["rows"] > 1:
            gap = copy["hstride"] * HBM_ATOM_BYTES - length
            kinds = STRIDES[gap >= HBM_ATOM_BYTES], STRIDES[copy["sstride"] > length]
            self.cover.hit("strides", *kinds)
