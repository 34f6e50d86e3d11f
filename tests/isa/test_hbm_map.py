"""Address mappings: bijections, as their text says bit by bit, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from isa.hbm import GENERATIONS, load_generation
from isa.hbm_map import DEFAULT_MAP, FIELDS, HbmMap, Place
from tests.support import rng

HBM3 = load_generation("hbm3")
CASES = [
    (DEFAULT_MAP, "hbm3", 32),
    (DEFAULT_MAP, "hbm2e", 1),
    (DEFAULT_MAP, "hbm4", 512),
    ("row bank column:3 group channel column:2", "hbm3", 2),
    ("channel row bank^row group^row column", "hbm3e", 128),
    ("row:4 channel:2^row column:2 row bank:1^row+2 column:1 group channel bank:1 column:2",
     "hbm4", 64),
    ("column group^row+3 bank channel^row row", "hbm2e", 16),
    ("bank row:14 channel^row+13 column group row:1", "hbm3", 8),  # fewer row bits than channel's
    ("row bank group column", "hbm3", 1),
    ("column:1 column:1 channel:1 column:1 column:1 column:1 row bank group^row", "hbm3", 2),
]  # fmt: skip


def slow_locate(text: str, rows: int, channels: int, address: int) -> dict[str, int]:
    """The documented meaning of a mapping, one bit after the other from the top."""
    widths = {"row": rows.bit_length() - 1, "bank": 2, "group": 2, "column": 5}
    widths["channel"] = channels.bit_length() - 1
    names, shifts = [], {}
    for part in text.split():
        part, _, xor = part.partition("^")
        name, _, bits = part.partition(":")
        others = [p.partition("^")[0] for p in text.split()]
        taken = sum(int(p.split(":")[1]) for p in others if p.startswith(name + ":"))
        names += [name] * (int(bits) if bits else widths[name] - taken)
        if xor:
            shifts[name] = int(xor.partition("+")[2] or 0)
    names += ["byte"] * 5
    digits = f"{address:0{len(names)}b}"
    assert len(digits) == len(names)
    place = dict.fromkeys(widths, "") | {"byte": ""}
    for name, digit in zip(names, digits, strict=True):
        place[name] += digit
    row = place["row"][::-1]
    for name, shift in shifts.items():
        mask = row[shift:]
        place[name] = "".join(
            str(int(digit) ^ (i < len(mask) and int(mask[i])))
            for i, digit in enumerate(place[name][::-1])
        )[::-1]
    return {name: int(value or "0", 2) for name, value in place.items()}


@pytest.mark.parametrize(("text", "name", "channels"), CASES)
def test_places_are_as_the_text_says(text: str, name: str, channels: int):
    mapping = HbmMap(text, load_generation(name), channels)
    addresses = rng(len(text)).integers(0, mapping.bytes, 300)
    addresses[:2] = 0, mapping.bytes - 1
    places = mapping.locate(addresses)
    for i, address in enumerate(addresses.tolist()):
        place = mapping.locate(address)
        assert all(type(value) is int for value in place)
        assert place == tuple(values[i] for values in places)
        assert place._asdict() == slow_locate(text, mapping.generation.rows, channels, address)


@pytest.mark.parametrize(("text", "name", "channels"), CASES)
def test_mappings_are_bijections(text: str, name: str, channels: int):
    mapping = HbmMap(text, load_generation(name), channels)
    dice = rng(channels)
    addresses = dice.integers(0, mapping.bytes, (41, 23))
    places = mapping.locate(addresses)
    assert all(values.shape == (41, 23) for values in places)
    assert np.array_equal(mapping.address(places), addresses)
    places = Place(*(dice.integers(0, size, 1000) for size in mapping.sizes.values()))
    addresses = mapping.address(places)
    assert 0 <= addresses.min() <= addresses.max() < mapping.bytes
    assert all(np.array_equal(a, b) for a, b in zip(mapping.locate(addresses), places, strict=True))
    one = Place(*(int(values[5]) for values in places))
    assert mapping.address(one) == addresses[5]
    assert mapping.locate(int(addresses[5])) == one


@pytest.mark.parametrize(("text", "channels"), [(CASES[4][0], 4), (CASES[5][0], 8)])
def test_every_byte_has_its_own_place(text: str, channels: int):
    """The whole of a tiny memory, so that nothing is left to chance."""
    mapping = HbmMap(text.replace("row:4", "row:1"), HBM3.replace(rows=8), channels)
    places = mapping.locate(np.arange(mapping.bytes))
    assert len(np.unique(np.ravel_multi_index(places, tuple(mapping.sizes.values())))) == (
        mapping.bytes
    )


@pytest.mark.parametrize(("text", "name", "channels"), CASES)
def test_bits_and_xors_build_the_place(text: str, name: str, channels: int):
    """What hardware does with `bits` and `xors`."""
    mapping = HbmMap(text, load_generation(name), channels)
    everything = [bit for field in (*FIELDS, "byte") for bit in mapping.bits(field)]
    assert sorted(everything) == list(range(mapping.bytes.bit_length() - 1))
    for address in rng(3).integers(0, mapping.bytes, 50).tolist():
        for field, value in mapping.locate(address)._asdict().items():
            wires = [address >> bit & 1 for bit in mapping.bits(field)]
            for i, bit in enumerate(mapping.xors.get(field, ())):
                wires[i] ^= address >> bit & 1
            assert value == sum(wire << i for i, wire in enumerate(wires))
            assert mapping.width(field) == len(wires)


def test_bits_by_hand():
    mapping = HbmMap("row bank^row+1 column:4 channel column:1 group^row", HBM3, 8)
    assert mapping.bits("byte") == (0, 1, 2, 3, 4)
    assert mapping.bits("group") == (5, 6)
    assert mapping.bits("column") == (7, 11, 12, 13, 14)
    assert mapping.bits("channel") == (8, 9, 10)
    assert mapping.bits("bank") == (15, 16)
    assert mapping.bits("row") == tuple(range(17, 32))
    assert mapping.xors == {"bank": (18, 19), "group": (17, 18)}
    assert HbmMap(DEFAULT_MAP, HBM3, 1).bits("channel") == ()
    assert mapping.bytes == 8 * HBM3.bytes == 1 << 32
    place = mapping.locate((0b110 << 17) + (2 << 15) + (1 << 7) + (3 << 5) + 9)
    assert place == Place(channel=0, group=1, bank=1, row=6, column=1, byte=9)
    assert place.bank_index == 5


@st.composite
def mappings(draw) -> tuple[str, int, int]:
    """A random legal text: every field cut into parts, in any order, some with ^row."""
    row_bits, channel_bits = draw(st.integers(1, 8)), draw(st.integers(0, 9))
    parts = []
    for name, left in (("row", row_bits), ("bank", 2), ("group", 2), ("column", 5),
                       ("channel", channel_bits)):  # fmt: skip
        own = []
        while left and draw(st.booleans()):
            bits = draw(st.integers(1, left))
            own.append(f"{name}:{bits}")
            left -= bits
        own += [name] if left else []
        if own and name in ("bank", "group", "channel") and draw(st.booleans()):
            low = draw(st.integers(0, row_bits - 1))
            own[draw(st.integers(0, len(own) - 1))] += f"^row+{low}" if low else "^row"
        parts += own
    return " ".join(draw(st.permutations(parts))), 1 << row_bits, 1 << channel_bits


@settings(max_examples=100, deadline=None, derandomize=True)
@given(mappings(), st.data())
def test_random_mappings(case: tuple[str, int, int], data):
    text, rows, channels = case
    mapping = HbmMap(text, HBM3.replace(rows=rows), channels)
    address = data.draw(st.integers(0, mapping.bytes - 1))
    place = mapping.locate(address)
    assert place._asdict() == slow_locate(text, rows, channels, address)
    assert mapping.address(place) == address


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64"])
def test_integer_types(dtype: str):
    mapping = HbmMap(DEFAULT_MAP, HBM3, 4)
    addresses = np.array([0, 5, 127], dtype)
    assert mapping.locate(addresses).group.tolist() == [0, 0, 1]
    assert mapping.locate(addresses).row.dtype == np.int64
    assert mapping.locate(addresses[2]) == mapping.locate(127)
    assert mapping.locate(addresses[:0]).row.shape == (0,)


@pytest.mark.parametrize("name", GENERATIONS)
@pytest.mark.parametrize("channels", [1, 8, 64])
def test_default_map_serves_streams(name: str, channels: int):
    mapping = HbmMap(DEFAULT_MAP, load_generation(name), channels)
    start = 5 * channels * 16384
    stream = mapping.locate(start + 32 * np.arange(channels * 1024))
    assert stream.group[:9].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0]
    # 64 aligned bytes are in one row.
    assert all(np.array_equal(part[::2], part[1::2]) for part in (*stream[:4],))
    assert np.array_equal(stream.channel, np.arange(channels * 1024) // 8 % channels)
    assert len(np.unique(stream.row)) == 2  # 16 KiB of every channel share one
    for channel in range(channels):
        own = stream.channel == channel
        assert np.array_equal(stream.group[own], np.arange(1024) // 2 % 4)
        assert np.array_equal(stream.bank[own], np.arange(1024) // 128 % 4)


@pytest.mark.parametrize(
    ("bank", "meetings"), [("bank", 0), ("bank^row", 8), ("bank^row+2", 2), ("bank^row+1", 4)]
)
def test_xor_makes_a_stream_meet_its_own_bank(bank: str, meetings: int):
    """Rows that follow each other in one bank, in a stream of 17 rows: the claim at DEFAULT_MAP."""
    mapping = HbmMap(DEFAULT_MAP.replace("bank", bank), HBM3, 1)
    stream = mapping.locate(4096 * np.arange(17 * 4))  # once for each bank of each row
    assert int((np.diff(stream.bank) == 0).sum()) == meetings


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "row is missing, 15 bits"),
        ("row bank column group", "channel is missing, 3 bits"),
        ("row bank column channel", "group is missing, 2 bits"),
        ("row bank rank column group channel", "unknown field 'rank', expected one of row, bank, "
         "group, column, channel"),
        ("row bank byte column group channel", "unknown field 'byte', expected one of row, bank, "
         "group, column, channel"),
        ("row bank column column group channel", "column is repeated, 2 times without a number of "
         "bits"),
        ("row bank column:5 column group channel", "column is repeated, its 5 bits are placed "
         "without it"),
        ("row bank column:6 group channel", "column must have 5 bits, not 6"),
        ("row bank column:6 column group channel", "column must have 5 bits, not 6"),
        ("row bank column:2 group column:2 channel", "column must have 5 bits, not 4"),
        ("row:16 bank column group channel", "row must have 15 bits, not 16"),
        ("row bank:1 column group channel", "bank must have 2 bits, not 1"),
        ("row bank column group channel:4", "channel must have 3 bits, not 4"),
        ("row bank column group:0 channel", "group:0 must have at least one bit"),
        ("row^row bank column group channel", "row^row is not invertible, only bank, group, "
         "channel take ^row"),
        ("row bank column:2^row column group channel", "column^row is not invertible, only bank, "
         "group, channel take ^row"),
        ("row bank:1^row bank:1^row+1 column group channel", "bank^row is repeated, 2 times"),
        ("row bank^row+15 column group channel", "bank^row+15 must begin below row bit 15"),
        *(
            (f"row bank {part} group channel", f"{part!r} must be FIELD or FIELD:BITS, then ^row "
             "or ^row+BIT or nothing")
            for part in ("column:", "column:x", "column:-1", "column:1:1", "5", "Column",
                         "column^bank", "column^row+", "column^row:2", "column^row^row", "^row")
        ),
    ],
)  # fmt: skip
def test_impossible_mappings(text: str, why: str):
    with pytest.raises(ValueError) as caught:
        HbmMap(text, HBM3, 8)
    assert str(caught.value) == f"HBM mapping {text!r}: {why}"


@pytest.mark.parametrize("channels", [0, -1, 3, 1024, True, 2.0, "8"])
def test_impossible_channels(channels: object):
    with pytest.raises(ValueError) as caught:
        HbmMap("row", HBM3, channels)
    assert str(caught.value) == (
        f"HBM mapping 'row': channels must be a power of two from 1 to 512, not {channels!r}"
    )


def test_a_single_channel_has_no_bits():
    with pytest.raises(ValueError, match=r"channel must have 0 bits, not 1$"):
        HbmMap("row bank column group channel:1", HBM3, 1)
    split = HbmMap("channel row bank column group channel:1^row", HBM3, 2)
    assert split.bits("channel") == (5,)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (-1, "address must be between 0 and 536870911, not -1"),
        (1 << 29, "address must be between 0 and 536870911, not 536870912"),
        (1 << 70, f"address must be between 0 and 536870911, not {1 << 70}"),
        (np.array([3, 1 << 29, -1]), "address must be between 0 and 536870911, not 536870912"),
        (np.array([1 << 63], np.uint64), f"address must be between 0 and 536870911, not {1 << 63}"),
        (1.0, "address must be an integer or an array of integers, not 1.0"),
        (True, "address must be an integer or an array of integers, not True"),
        (np.zeros(1), "address must be an integer or an array of integers, not array([0.])"),
    ],
)
def test_impossible_addresses(address, why: str):
    with pytest.raises(ValueError) as caught:
        HbmMap(DEFAULT_MAP, HBM3, 1).locate(address)
    assert str(caught.value) == f"HBM mapping {DEFAULT_MAP!r}: {why}"


def test_impossible_places():
    mapping = HbmMap(DEFAULT_MAP, HBM3, 4)
    place = mapping.locate(0)
    for field, size in mapping.sizes.items():
        for value in (-1, size):
            with pytest.raises(ValueError) as caught:
                mapping.address(place._replace(**{field: value}))
            assert str(caught.value) == (
                f"HBM mapping {DEFAULT_MAP!r}: {field} must be between 0 and {size - 1}, "
                f"not {value}"
            )
    with pytest.raises(ValueError, match="unknown field 'rank', expected one of channel, group, "):
        mapping.bits("rank")
