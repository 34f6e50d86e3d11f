"""Random copies for the benches of both DMA engines, and what of them must have been seen."""

import random
from collections.abc import Iterator

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.rules import INDEX_BYTES
from isa.table import BY_MNEMONIC
from rtl.dma import COMMAND, GATHER
from tb.coverage import Coverage
from tb.memory_agents import PAGE_BYTES

MEMORY_BYTES = 1 << 16  # comes again and again in the address space
LIST_BYTES = 1024  # at the end of the SRAM: of gathers, where the list may lie
LENGTHS = ("a line or less", "below a burst", "one burst", "above a burst")
STRIDES = ("touching", "apart")
PARTS = ("0", "1", "some", "all but 1")  # of a beat
LISTS = ("1", "below a line", "a line", "a line and 1", "more")
Copy = dict[str, int]


class Copies:
    """`all`: copies inside the SRAM and 2^32 atoms of HBM. Rows in HBM start at any byte, so that
    bursts meet 4 KiB. With `rows` there is one copy, of so many short rows and planes, all in one
    place. With `gathers`, behind every third comes a gather, whose row numbers are in `numbers`.

    `cover` gets points of copies and of the bursts that they become.
    """

    def __init__(
        self,
        cover: Coverage,
        config: ChipConfig,
        count: int,
        short: tuple[int, int] = (0, 0),
        gathers: bool = False,
    ) -> None:
        self.cover, self.config = cover, config
        self.all: list[Copy] = []
        self.numbers: dict[int, list[int]] = {}  # copy's index → of its rows
        for index in range(count):
            self.all.append(self._random(index))
            if gathers and index % 3 == 2:
                self.all.append(self._random(index))
                self._gather(len(self.all) - 1, index // 3)
        if short[0]:
            still = dict.fromkeys(("hstride", "sstride", "hplane", "splane"), 0)
            sizes = {"rows": short[0], "planes": short[1], "bytes": config.line_bytes}
            self.all = [self._random(0) | still | sizes]
        cover.point("copies", {"rows": ("1", "2", "more"), "row": LENGTHS})
        cover.point("planes", {"planes": ("1", "2", "more"), "rows": ("1", "more")})
        cover.point("strides", {"HBM": STRIDES, "SRAM": STRIDES})
        cover.point("shift", {"in front": PARTS, "length": PARTS})
        cover.point("burst ends at", {"end": ("beats", "row", "page", "row and page")})
        cover.point("burst", {"beats": ("1", "2", "more", "longest")})
        if gathers:
            cover.point("gather", {"row numbers": LISTS})

    def payloads(self) -> Iterator[int]:
        """Of the command stream."""
        return (COMMAND.const(copy).as_value().value for copy in self.all)

    def lines(self, copy: Copy) -> int:
        """Of the SRAM, which the copy touches."""
        of_row = -(-copy["bytes"] // self.config.line_bytes)
        return (copy["planes"] or 1) * copy["rows"] * of_row

    def places(self, index: int) -> Iterator[tuple[int, int]]:
        """(HBM byte address, SRAM byte) of each row of a copy."""
        copy, numbers = self.all[index], self.numbers.get(index)
        for plane in range(copy["planes"] or 1):
            for row in range(copy["rows"]):
                number = numbers[row] if numbers else row
                atom = copy["hbm"] + number * copy["hstride"]
                sram = copy["sram"] + row * copy["sstride"]
                if not numbers:
                    atom, sram = atom + plane * copy["hplane"], sram + plane * copy["splane"]
                yield HBM_ATOM_BYTES * atom + copy["offset"], sram

    def check(self, index: int, bursts: list[tuple[int, int]]) -> None:
        """The bursts (address, beats) are the copy's rows in order, each as long as can be."""
        copy, left = self.all[index], list(bursts)
        self._cover(copy, self.numbers.get(index))
        for start, _ in self.places(index):
            self._check_row(start, start + copy["bytes"], left)
        assert not left, f"more bursts than the copy has: {left}"

    def _check_row(self, start: int, end: int, left: list[tuple[int, int]]) -> None:
        longest, beat = self.config.burst_beats, self.config.axi_bytes
        self.cover.hit("shift", self._part(start), self._part(end - start))
        at, end = start // beat * beat, -(-end // beat) * beat
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

    def _part(self, count: int) -> str:
        """How much of a beat is left of so many bytes."""
        rest, beat = count % self.config.axi_bytes, self.config.axi_bytes
        return PARTS[rest] if rest < 2 else PARTS[3 if rest == beat - 1 else 2]

    def _random(self, index: int) -> Copy:
        """Fifteen in a row have every kind of size and of planes, twelve every kind of distance,
        sixteen every place and length in beats; one of twenty fills the SRAM with one or two rows,
        or nearly."""
        config, beat = self.config, self.config.axi_bytes
        line, lines = config.line_bytes, config.burst_beats * beat // config.line_bytes
        sizes = (1, random.randint(2, lines - 1), lines, lines + random.randint(1, 3), 5 * lines)
        length, rows = line * sizes[index // 3 % 5], (1, 2, random.randint(3, 7))[index % 3]
        planes = (1, 2, random.randint(3, 4))[index // 5 % 3]
        if index % 20 == 19:
            rows, planes = 1 + index // 20 % 2, 1
            length = config.sram_bytes // rows - line * random.randrange(4, 9)
        some = random.randint(2, beat - 2)  # bytes of a beat
        if index // 3 % 5 != 2 or index // 15 % 2:  # one burst is just one, at first
            length -= (0, beat - 1, some, 1)[index // 4 % 4]
        if index % 30 == 17:
            length = some
        atoms, used = -(-length // HBM_ATOM_BYTES), -(-length // line) * line
        hstride = atoms + (index >> 1 & 1) * random.randint(1, 4)
        if index % 10 == 7:
            hstride |= random.getrandbits(COMMAND["hstride"].width)
        sstride = used + line * (index & 1) * random.randint(1, 4)
        splane = (rows - 1) * sstride + used + line * random.randrange(3)
        planes = max(1, min(planes, config.sram_bytes // splane))
        hplane = ((rows - 1) * hstride + atoms + random.randrange(3)) % (1 << 24)
        if index % 10 == 9:
            hplane |= random.getrandbits(COMMAND["hplane"].width)
        page = PAGE_BYTES // HBM_ATOM_BYTES
        places = (1 << COMMAND["hbm"].width) - rows * hstride - planes * hplane - 1
        near_page = page * random.randrange(1, places // page) - random.randint(1, 3)
        size = (planes - 1) * splane + (rows - 1) * sstride + used
        offset = (0, 1, some + beat * random.randrange(max(1, HBM_ATOM_BYTES // beat)), beat - 1)
        return {
            "opcode": BY_MNEMONIC["load"].opcode,  # the store engine does not look at it
            "hbm": random.choice([near_page, random.randrange(places)]),
            "hstride": hstride,
            "sram": line * random.randrange((config.sram_bytes - size) // line + 1),
            "sstride": sstride,
            "rows": rows,
            "bytes": length,
            "offset": offset[index % 4] % HBM_ATOM_BYTES,
            "planes": planes,
            "hplane": hplane,
            "splane": splane,
        }

    def _gather(self, index: int, kind: int) -> None:
        """Make a copy one of rows by number: of any atoms that exist, and of one again."""
        copy, line, words = self.all[index], self.config.line_bytes, self.config.line_bytes // 4
        rows = (1, words - 1, words, words + 1, random.randint(words + 2, 3 * words))[kind % 5]
        room = self.config.sram_bytes - LIST_BYTES
        copy["bytes"] = min(copy["bytes"], room // rows // line * line)
        sstride = -(-copy["bytes"] // line) * line
        most = COMMAND["hbm"].width
        atoms = -(-copy["bytes"] // HBM_ATOM_BYTES) + 1
        hstride, hbm = random.getrandbits(random.randint(1, 24)), random.getrandbits(most - 1)
        top = min((1 << 32) - 1, ((1 << most) - hbm - atoms) // max(1, hstride))
        numbers = [random.randint(0, top) for _ in range(rows)]
        numbers[-1] = random.choice(numbers)
        size = -(-INDEX_BYTES * rows // line) * line
        place = room + line * random.randrange((LIST_BYTES - size) // line + 1)
        sram = line * random.randrange((room - rows * sstride) // line + 1)
        copy |= {"opcode": GATHER, "rows": rows, "hstride": hstride, "hbm": hbm, "hplane": place}
        copy |= {"planes": 0, "splane": 0, "sstride": sstride, "sram": sram}
        self.numbers[index] = numbers

    def _cover(self, copy: Copy, numbers: list[int] | None) -> None:
        burst, length = self.config.burst_beats * self.config.axi_bytes, copy["bytes"]
        kind = LENGTHS[1 + (length >= burst) + (length > burst)]
        rows, more = copy["rows"], str(copy["rows"]) if copy["rows"] < 3 else "more"
        self.cover.hit("copies", more, LENGTHS[0] if length <= self.config.line_bytes else kind)
        if numbers:
            words = self.config.line_bytes // INDEX_BYTES
            near = {1: 0, words: 2, words + 1: 3}
            self.cover.hit("gather", LISTS[near.get(rows, 1 if rows < words else 4)])
            return
        planes = str(copy["planes"]) if copy["planes"] < 3 else "more"
        self.cover.hit("planes", planes, "1" if rows == 1 else "more")
        if rows > 1:
            gap = copy["hstride"] * HBM_ATOM_BYTES - length
            apart = copy["sstride"] - length >= self.config.line_bytes
            self.cover.hit("strides", STRIDES[gap >= HBM_ATOM_BYTES], STRIDES[apart])
