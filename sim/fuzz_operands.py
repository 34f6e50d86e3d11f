"""Random legal commands of the engines, each inside a place that is given."""

import random
import struct
from typing import Any, NamedTuple

from isa.config import F32_BYTES, HBM_ATOM_BYTES, ChipConfig
from isa.formats import ACTIVATIONS, FORMATS
from isa.program import Op, Value
from isa.rules import BINARY, INDEX_BYTES, REDUCTIONS
from isa.table import INSTRUCTIONS, VECTOR, Choice, Engine

SOURCE_ATOM, TARGET_ATOM, SCRATCH_ATOM = 2048, 6144, 10240
# Of gathers: lists of row numbers, and tables of rows. They lie behind all that is written, since
# the static checker, which does not know the numbers, takes it that a gather reads up to the end.
LIST_ATOM, TABLE_ATOM, HBM_ATOMS = 10304, 10336, 11360
NUMBERS = 48  # row numbers are below
VECTOR_MNEMONICS = tuple(
    entry.mnemonic for entry in INSTRUCTIONS if entry.engine == Engine.VECTOR and entry.uses
)
_ODD_SCALARS = (0xFF800000, 0x7F800000, 0x7FC00001, 0x80000000, 1)  # ±∞, NaN, -0, subnormal


class Made(NamedTuple):
    """A command, the addresses that keep it inside its place, and one that it needs before."""

    op: Op
    places: dict[str, range]
    ahead: Op | None = None


def choices(name: str) -> tuple[str, ...]:
    """What the vector format's field ``name`` can say."""
    described = VECTOR.slots[name].field
    assert isinstance(described, Choice)
    return described.values


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)


class OperandMaker:
    """Draws commands for ``config`` with ``dice``. ``sram`` and ``acc`` are places: ranges of bytes
    and of accumulator rows."""

    def __init__(self, config: ChipConfig, dice: random.Random) -> None:
        self.config, self.dice = config, dice

    def load_or_gather(self, sram: range) -> Made:
        """A command of the load engine."""
        return self.gather(sram) if self.dice.random() < 0.3 else self.dma("load", sram)

    def dma(self, mnemonic: str, sram: range) -> Made:
        """A `load` from the sources, or a `store` to the targets."""
        for _ in range(1000):
            made = self._dma(mnemonic, sram)
            if made:
                return made
        raise ValueError(f"{self.config.name}: {len(sram)} bytes hold no rows of a {mnemonic}")

    def _length(self, sram: range) -> int:
        """Of a row: whole lines, or any number of bytes."""
        dice, line = self.dice, self.config.line_bytes
        most = line * max(1, min(40, len(sram) // line // 8))
        return dice.choice([line * dice.randint(1, most // line), dice.randint(1, most)])

    def _dma(self, mnemonic: str, sram: range) -> Made | None:
        dice, line = self.dice, self.config.line_bytes
        rows, planes = dice.randint(1, 6), dice.choice([1, 1, 2, 3])
        length, offset = self._length(sram), dice.choice([0, dice.randrange(HBM_ATOM_BYTES)])
        sstride = line * (_ceil(length, line) + dice.randrange(3))
        hstride = _ceil(length, HBM_ATOM_BYTES) + dice.randrange(3)
        splane = (rows - 1) * sstride + line * (_ceil(length, line) + dice.randrange(2))
        hplane = (rows - 1) * hstride + _ceil(length, HBM_ATOM_BYTES) + dice.randrange(2)
        if dice.random() < 0.1:  # rows that are only read may lie over each other
            if mnemonic == "load":
                hstride, hplane = dice.randrange(hstride), dice.randrange(hplane)
            else:
                sstride, splane = (line * dice.randrange(n // line) for n in (sstride, splane))
        need = (planes - 1) * splane + (rows - 1) * sstride + length
        atoms = (planes - 1) * hplane + (rows - 1) * hstride
        atoms += _ceil(offset + length, HBM_ATOM_BYTES)
        atom = SOURCE_ATOM if mnemonic == "load" else TARGET_ATOM
        if need > len(sram) or atoms > TARGET_ATOM - SOURCE_ATOM:
            return None
        places = {
            "hbm": range(atom, atom + TARGET_ATOM - SOURCE_ATOM - atoms + 1),
            "sram": self._place(sram, need, line),
        }
        fields: dict[str, Any] = {"hstride": hstride, "sstride": sstride, "offset": offset}
        fields |= {"hplane": hplane, "splane": splane, "planes": planes}
        return self._made(mnemonic, {**fields, "rows": rows, "bytes": length}, places)

    def gather(self, sram: range) -> Made:
        """A `gather` from the tables, behind the `load` of its list, which lies in front of the
        rows or behind them."""
        dice, line = self.dice, self.config.line_bytes
        length, offset = self._length(sram), dice.choice([0, dice.randrange(HBM_ATOM_BYTES)])
        sstride = line * (_ceil(length, line) + dice.randrange(2))
        rows = dice.randint(1, min(40, len(sram) // (sstride + line)))
        size = _ceil(INDEX_BYTES * rows, line) * line
        behind = dice.random() < 0.5
        rest = sram[: len(sram) - size] if behind else sram[size:]
        numbers = rest.stop if behind else sram.start
        atoms = _ceil(offset + length, HBM_ATOM_BYTES)
        hstride = dice.randint(0, (HBM_ATOMS - TABLE_ATOM - atoms) // NUMBERS)
        last = HBM_ATOMS - atoms - (NUMBERS - 1) * hstride
        places = {
            "hbm": range(TABLE_ATOM, last + 1),
            "sram": self._place(rest, rows * sstride, line),
        }
        fields: dict[str, Any] = {"hstride": hstride, "sstride": sstride, "rows": rows}
        fields |= {"bytes": length, "offset": offset, "hplane": numbers}
        return self._made("gather", fields, places)._replace(ahead=self._list(numbers, rows))

    def _list(self, place: int, rows: int) -> Op:
        """Loads ``rows`` row numbers to ``place``."""
        words = (TABLE_ATOM - LIST_ATOM) * HBM_ATOM_BYTES // INDEX_BYTES
        first = INDEX_BYTES * self.dice.randint(0, words - rows)
        fields: dict[str, Value] = {"hbm": LIST_ATOM + first // HBM_ATOM_BYTES, "sram": place}
        fields |= {"offset": first % HBM_ATOM_BYTES, "rows": 1, "bytes": INDEX_BYTES * rows}
        return Op("load", fields)

    def matmul(self, sram: range, acc: range) -> Made:
        """A product in any format that the array takes; rows of all kinds of distances."""
        for _ in range(1000):
            made = self._matmul(sram, acc)
            if made:
                return made
        raise ValueError(f"{self.config.name}: {len(sram)} bytes hold no operands of a matmul")

    def _matmul(self, sram: range, acc: range) -> Made | None:
        dice, config = self.dice, self.config
        wf = dice.choice([n for n, entry in FORMATS.items() if config.element in entry.arrays])
        layout, entry = dice.choice(["normal", "transposed"]), FORMATS[wf]
        m = dice.choice([1, dice.randint(1, 2 * config.rows)])
        k = dice.choice([dice.randint(1, 4 * config.rows), dice.randint(1, 80)])
        n = dice.choice([dice.randint(1, 3 * config.cols), config.cols * dice.randint(1, 3)])
        tiles, panels = _ceil(k, config.rows), _ceil(n, config.cols)
        row = config.array_row_bytes
        astride = row * (tiles + dice.randrange(2)) * (dice.random() < 0.9)
        header = _ceil(k, entry.block) * config.cols * entry.scale_bytes if entry.block else 0
        header = _ceil(header, config.line_bytes) * config.line_bytes
        if layout == "normal":
            unit, stored, width = entry.bytes_of(config.cols), k, panels
        else:
            unit, stored, width = entry.bytes_of(config.rows), min(n, config.cols), tiles
        wstride = unit * dice.choice([1, width, width + 1, dice.randrange(4)])
        end = (stored - 1) * wstride + unit * (1 if layout == "normal" else tiles)
        step = config.line_bytes if entry.block else unit
        side_by_side = dice.random() < 0.4 and not entry.block
        distance = unit if side_by_side else header + end + step * dice.randrange(2)
        wpanel = _ceil(distance, step) * step
        a_need = (m - 1) * astride + tiles * row
        w_need = header + (panels - 1) * wpanel + end
        middle = sram.start + len(sram) // 2
        if max(a_need, w_need) > len(sram) // 2 or m * panels > len(acc):
            return None
        places = {
            "acc": self._place(acc, m * panels, 1),
            "a": self._place(range(sram.start, middle), a_need, row),
            "w": self._place(range(middle, sram.stop), w_need, step),
        }
        fields: dict[str, Value] = {"astride": astride, "wstride": wstride, "wpanel": wpanel}
        fields |= {"m": m, "k": k, "n": n, "layout": layout, "wf": wf}
        fields["mode"] = dice.choice(["overwrite", "accumulate"])
        fields["af"] = dice.choice(ACTIVATIONS[config.element])
        return self._made("matmul", fields, places)

    def vector(self, sram: range, acc: range) -> Made:
        """Any vector instruction with any types; now and then it works in place."""
        dice, lanes = self.dice, self.config.lanes
        mnemonic = dice.choice(VECTOR_MNEMONICS)
        rows, cols, rep = dice.randint(1, 6), dice.randint(1, 4 * lanes), dice.randrange(4)
        if mnemonic == "vrot":
            cols = dice.randint(1, lanes) if dice.random() < 0.5 else lanes * dice.randint(2, 4)
            rep = dice.randrange(cols) if cols <= lanes else lanes * dice.randrange(cols // lanes)
        elif mnemonic in ("vmask", "vmaskl"):
            rep = dice.choice([dice.randint(-8, cols + 2), dice.getrandbits(16)]) & 0xFFFF
        fields: dict[str, Any] = {"rows": rows, "cols": cols, "rep": rep, "b": self._scalar()}
        dt = fields["dt"] = dice.choice(choices("dt")) if mnemonic != "vargmax" else "f32"
        at = fields["at"] = dice.choice(choices("at"))
        parts = [range(sram.start + i * len(sram) // 4, sram.stop) for i in range(3)]
        parts = [part[: len(sram) // 4] for part in parts]
        width = 1 if mnemonic in REDUCTIONS else cols
        places = {"dst": self._rows(parts[0], dt, rows, width, fields, "dstride")}
        if at == "acc":
            panels = _ceil(cols, self.config.cols)
            most = (len(acc) - rows) // max(1, panels - 1)
            fields["astride"] = dice.randint(0, min(9, most))
            span = rows + (panels - 1) * fields["astride"]
            places["a"] = self._place(acc, span, 1)
        else:
            places["a"] = self._rows(parts[1], at, rows, cols, fields, "astride")
            if dice.random() < 0.1:  # all rows read one
                fields["astride"] = 0
        if mnemonic in BINARY:
            bt = fields["bt"] = dice.choice(choices("bt"))
            if bt != "scalar":
                wide = 1 if bt == "col" else cols
                places["b"] = self._rows(parts[2], bt, rows, wide, fields, "bstride")
                fields["bstride"] *= dice.randrange(2)
        whole = mnemonic == "vrot" and cols > lanes
        apart = rows == 1 or fields["astride"]
        if at == dt and apart and not whole and dice.random() < 0.5:
            return self._in_place(mnemonic, fields, places)
        return self._made(mnemonic, fields, places)

    def _in_place(self, mnemonic: str, fields: dict, places: dict[str, range]) -> Made:
        """The result over the first source: wherever the source may lie."""
        start = self.dice.choice(places["a"])
        fields |= {"a": start, "dst": start, "dstride": fields["astride"]}
        rest = {name: place for name, place in places.items() if name not in ("a", "dst")}
        return self._made(mnemonic, fields, rest)

    def _scalar(self) -> int:
        """Bits of an fp32 number."""
        (ordinary,) = struct.unpack("<I", struct.pack("<f", self.dice.gauss(0, 3)))
        return self.dice.choice([ordinary, ordinary, *_ODD_SCALARS])

    def _rows(
        self, place: range, dtype: str, rows: int, cols: int, fields: dict, stride: str
    ) -> range:
        """Where rows of vectors may lie in a place; draws their distance as well."""
        sizes = {"bf16": 2, "i8": 1, "e4m3": 1, "e5m2": 1}
        unit = self.config.lanes * sizes.get(dtype, F32_BYTES)
        fields[stride] = unit * (_ceil(cols, self.config.lanes) + self.dice.randrange(3))
        return self._place(place, rows * fields[stride], unit)

    def _place(self, place: range, need: int, unit: int) -> range:
        """Multiples of ``unit`` (of which the place is one) from which ``need`` fits."""
        if need > len(place):
            raise ValueError(f"{self.config.name}: {need} must fit in {len(place)}")
        return range(place.start, place.stop - need + 1, unit)

    def _made(self, mnemonic: str, fields: dict, places: dict[str, range]) -> Made:
        uses = Op(mnemonic).spec.uses
        for name, place in places.items():
            fields[name] = self.dice.choice(place)
        op = Op(mnemonic, {name: fields[name] for name in uses if name in fields})
        return Made(op, {name: place for name, place in places.items() if name in uses})
