"""Address mapping of the HBM: which bits of a byte address choose what, as one string.

A mapping names fields from the most to the least significant bit, separated by blanks, for example
``row bank column:4 channel group column:1``:

- ``row``: log2 of the generation's rows
- ``bank``: 2 bits, the bank in its group; ``group``: 2 bits, the bank group
- ``column``: 5 bits, the 32-byte column of a row
- ``channel``: log2 of the chip's pseudo-channels, which are counted over all stacks

Below all of them are the 5 bits of the byte in a column, which are not named. ``column:4`` takes
four bits; a name without a number takes what is left of its field, once. Of a field in several
parts the leftmost is the most significant. ``^row`` behind one part of a bank, group or channel
(``bank^row``, ``channel:3^row``) makes that whole field the exclusive or of its address bits and
the lowest row bits; ``^row+2`` begins at row bit 2 instead. The row itself is never changed, which
makes every mapping a bijection.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from isa.hbm import BANK_GROUPS, BANKS_PER_GROUP, COLUMN_BYTES, COLUMNS, HbmGeneration

DEFAULT_MAP = "row bank column:4 channel group column:1"
"""Made for streams, and for random accesses of 64 bytes. From the bottom:

- ``column:1``: 64 bytes lie in one row, so that they cost one activation.
- ``group``: then the next bank group. In one group columns would be tCCD_L apart instead of
  tCCD_S, 4 cycles and more where the data take 2: half of the bandwidth at most. The controller
  takes the columns of several groups in turn.
- ``channel``: changes every 256 bytes, so that a few kilobytes already keep many channels busy.
- ``column:4``: the rest of four open rows, 4 KiB of a channel (256 cycles of data) for four ACTs.
- ``bank``: the rows that follow are in other banks, which can be opened meanwhile.
- ``row`` last: 16 KiB of every channel share a row number.

There is no ``bank^row``. It parts two streams that are in one bank at different rows, but makes a
single stream meet itself: bank 3 ^ r of row r is followed by bank 0 ^ (r + 1), the same bank for
every odd r, and nothing hides its PRE and ACT. ``bank^row+2`` does so for one row in eight.
"""

FIELDS = ("row", "bank", "group", "column", "channel")
XOR_FIELDS = ("bank", "group", "channel")
BYTE_BITS = COLUMN_BYTES.bit_length() - 1
MOST_CHANNELS = 512

_PART = re.compile(r"([a-z]+)(?::([0-9]{1,3}))?(\^row(?:\+([0-9]{1,3}))?)?")

T = TypeVar("T", int, NDArray[np.int64])


class Place(NamedTuple, Generic[T]):
    """Where a byte is; for many bytes, arrays of one shape."""

    channel: T
    group: T
    bank: T  # in its group
    row: T
    column: T
    byte: T

    @property
    def bank_index(self) -> T:
        """Among the 16 banks of the pseudo-channel, as on its port."""
        return self.group * BANKS_PER_GROUP + self.bank


class _Part(NamedTuple):
    field: str
    bits: int | None  # None: what is left
    row_bit: int | None  # the first that is xored into the field; None: no ^row


class _Piece(NamedTuple):
    """Bits ``low`` and up of a field are the address bits ``at`` and up, ``bits`` of them."""

    field: str
    low: int
    at: int
    bits: int


@dataclass(frozen=True)
class HbmMap:
    """The mapping ``text`` for ``channels`` pseudo-channels of one generation.

    ValueError names the mapping and the field: unknown, missing, repeated, of too many or too few
    bits, not invertible; later, the address or the field that is out of range.
    """

    text: str
    generation: HbmGeneration
    channels: int  # of the chip, a power of two
    _pieces: tuple[_Piece, ...] = field(init=False, repr=False, compare=False)
    _row_bits: dict[str, int] = field(init=False, repr=False, compare=False)  # of fields with ^row

    def __post_init__(self) -> None:
        count = self.channels
        is_int = isinstance(count, int) and not isinstance(count, bool)
        if not (is_int and 1 <= count <= MOST_CHANNELS and count & (count - 1) == 0):
            self._refuse(
                f"channels must be a power of two from 1 to {MOST_CHANNELS}, not {count!r}"
            )
        parts = [self._part(text) for text in self.text.split()]
        object.__setattr__(self, "_pieces", tuple(self._layout(parts)))
        object.__setattr__(self, "_row_bits", dict(self._find_xors(parts)))

    def _refuse(self, why: str) -> NoReturn:
        raise ValueError(f"HBM mapping {self.text!r}: {why}")

    def _part(self, text: str) -> _Part:
        match = _PART.fullmatch(text)
        if match is None:
            self._refuse(f"{text!r} must be FIELD or FIELD:BITS, then ^row or ^row+BIT or nothing")
        name, bits, xor, row_bit = match.groups()
        if name not in FIELDS:
            self._refuse(f"unknown field {name!r}, expected one of {', '.join(FIELDS)}")
        return _Part(name, int(bits) if bits else None, int(row_bit or 0) if xor else None)

    def _layout(self, parts: list[_Part]) -> Iterator[_Piece]:
        left = {name: self._left(name, parts) for name in FIELDS}
        at, low = BYTE_BITS, dict.fromkeys(FIELDS, 0)
        for name, bits, _ in reversed(parts):
            width = left[name] if bits is None else bits
            yield _Piece(name, low[name], at, width)
            at += width
            low[name] += width

    def _left(self, name: str, parts: list[_Part]) -> int:
        """Bits for the part of a field that has no number, after all its parts are checked."""
        sizes = [part.bits for part in parts if part.field == name]
        placed = [size for size in sizes if size is not None]
        open_parts, width = len(sizes) - len(placed), self.width(name)
        left = width - sum(placed)
        if not sizes and width:
            self._refuse(f"{name} is missing, {width} bits")
        if 0 in placed:
            self._refuse(f"{name}:0 must have at least one bit")
        if open_parts > 1:
            self._refuse(f"{name} is repeated, {open_parts} times without a number of bits")
        if left < 0 or (left and not open_parts):
            self._refuse(f"{name} must have {width} bits, not {sum(placed)}")
        if open_parts and not left and name != "channel":  # a single channel has no bits
            self._refuse(f"{name} is repeated, its {width} bits are placed without it")
        return left

    def _find_xors(self, parts: list[_Part]) -> Iterator[tuple[str, int]]:
        for name in FIELDS:
            first = [p.row_bit for p in parts if p.field == name and p.row_bit is not None]
            if first and name not in XOR_FIELDS:
                self._refuse(
                    f"{name}^row is not invertible, only {', '.join(XOR_FIELDS)} take ^row"
                )
            if len(first) > 1:
                self._refuse(f"{name}^row is repeated, {len(first)} times")
            if first and first[0] >= self.width("row"):
                self._refuse(f"{name}^row+{first[0]} must begin below row bit {self.width('row')}")
            if first:
                yield name, first[0]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of values of every field, in the order of `Place`."""
        return {
            "channel": self.channels,
            "group": BANK_GROUPS,
            "bank": BANKS_PER_GROUP,
            "row": self.generation.rows,
            "column": COLUMNS,
            "byte": COLUMN_BYTES,
        }

    @property
    def bytes(self) -> int:
        """Capacity of all channels; addresses are below it."""
        return self.channels * self.generation.bytes

    def width(self, name: str) -> int:
        """Number of bits of a field."""
        return self.sizes[name].bit_length() - 1

    def bits(self, name: str) -> tuple[int, ...]:
        """Numbers of the address bits that make a field, lowest first, before `xors` change it."""
        if name not in self.sizes:
            self._refuse(f"unknown field {name!r}, expected one of {', '.join(self.sizes)}")
        pieces = (*self._pieces, _Piece("byte", 0, 0, BYTE_BITS))
        return tuple(p.at + bit for p in pieces if p.field == name for bit in range(p.bits))

    @property
    def xors(self) -> dict[str, tuple[int, ...]]:
        """For fields with ^row, numbers of the address bits (of the row) to xor, lowest first.

        Bit i of such a field is ``address[bits(field)[i]] ^ address[xors[field][i]]``; where the
        row has no more bits the list is shorter, and the field's bit is the former alone.
        """
        row = self.bits("row")
        return {n: row[low : low + self.width(n)] for n, low in self._row_bits.items()}

    @overload
    def locate(self, address: int) -> Place[int]: ...
    @overload
    def locate(self, address: NDArray[Any]) -> Place[NDArray[np.int64]]: ...
    def locate(self, address: Any) -> Any:
        """Place of a byte address, or of an array of them."""
        address = self._checked("address", address, self.bytes)
        values = dict.fromkeys(self.sizes, address & 0)
        values["byte"] = address & (COLUMN_BYTES - 1)
        for name, low, at, bits in self._pieces:
            values[name] = values[name] | (address >> at & (1 << bits) - 1) << low
        return Place(**self._with_xors(values))

    @overload
    def address(self, place: Place[int]) -> int: ...
    @overload
    def address(self, place: Place[NDArray[np.int64]]) -> NDArray[np.int64]: ...
    def address(self, place: Any) -> Any:
        """Byte address of a place; the inverse of `locate`."""
        sizes = self.sizes
        values = {n: self._checked(n, getattr(place, n), size) for n, size in sizes.items()}
        values = self._with_xors(values)
        address = values["byte"]
        for name, low, at, bits in self._pieces:
            address = address | (values[name] >> low & (1 << bits) - 1) << at
        return address

    def _with_xors(self, values: dict[str, Any]) -> dict[str, Any]:
        mixed = {
            name: values[name] ^ (values["row"] >> low & self.sizes[name] - 1)
            for name, low in self._row_bits.items()
        }
        return values | mixed

    def _checked(self, name: str, value: Any, size: int) -> Any:
        """An int, or an array of int64, from 0 to below `size`."""
        checked: int | NDArray[np.int64]
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            outside = value[(value < 0) | (value >= size)]
            bad, checked = outside[:1].tolist(), value.astype(np.int64)
        elif isinstance(value, int | np.integer) and not isinstance(value, bool):
            checked = int(value)
            bad = [] if 0 <= checked < size else [checked]
        else:
            self._refuse(f"{name} must be an integer or an array of integers, not {value!r}")
        if bad:
            self._refuse(f"{name} must be between 0 and {size - 1}, not {bad[0]}")
        return checked
