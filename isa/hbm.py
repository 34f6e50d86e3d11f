"""HBM generations: organisation and timing of one pseudo-channel (PC), read from TOML files.

A PC is the smallest independent memory of a stack. In every generation here it moves 16 bytes in
a cycle of the command clock CK; a column access is 32 bytes, two cycles. Row and column commands
have a bus each, one command a cycle; ACT occupies the row bus for two cycles (HBM3 and HBM4: 1.5
CK, rounded up). The sources of the figures, and what is assumed, stand beside them in
``isa/presets/hbm/``.
"""

import dataclasses
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRESETS = Path(__file__).parent / "presets" / "hbm"
GENERATIONS = ("hbm2e", "hbm3", "hbm3e", "hbm4")

BANK_GROUPS = 4
BANKS_PER_GROUP = 4
BANKS = BANK_GROUPS * BANKS_PER_GROUP  # of a PC; bank index = group * 4 + bank in the group
COLUMN_BYTES = 32  # one column access
ROW_BYTES = 1024  # one row of one bank (a page)
COLUMNS = ROW_BYTES // COLUMN_BYTES
BEAT_BYTES = 16  # data of one CK cycle
BURST_CYCLES = COLUMN_BYTES // BEAT_BYTES
ACT_CYCLES = 2  # of the row bus; every other command takes one


@dataclass(frozen=True)
class HbmTiming:
    """Least distances between commands, in CK cycles from issue to issue; checked by its
    generation. ``cl`` and ``cwl`` are exact: from RD or WR to the first beat of its data.

    "Same" and "other" are bank groups: ``_l`` holds within one, ``_s`` between two.
    """

    cl: int  # RD to its first beat
    cwl: int  # WR to its first beat
    rcd_rd: int  # ACT to RD
    rcd_wr: int  # ACT to WR
    rp: int  # PRE to ACT or refresh
    ras: int  # ACT to PRE
    rc: int  # ACT to ACT of the same bank
    wr: int  # last beat written to PRE: WR to PRE is cwl + burst + wr
    rtp: int  # RD to PRE
    ccd_s: int  # RD to RD and WR to WR, other group
    ccd_l: int  # the same, same group
    rrd_s: int  # ACT to ACT, other group; ACT to REFpb
    rrd_l: int  # ACT to ACT, same group
    faw: int  # ACT to the fourth ACT after it
    wtr_s: int  # last beat written to RD, other group: WR to RD is cwl + burst + wtr_s
    wtr_l: int  # the same, same group
    rtw: int  # RD to WR, any bank
    rfc_ab: int  # REFab to any command
    rfc_pb: int  # REFpb to any command of its bank
    rrefd: int  # REFpb to REFpb and to ACT, any bank
    refi: int  # average distance of refreshes: a REFab, or a REFpb for each bank


@dataclass(frozen=True)
class HbmGeneration:
    """One PC and how many of them make a stack. ValueError names the field that is impossible."""

    name: str
    tck_ps: int  # period of CK
    timing: HbmTiming
    rows: int  # of a bank
    pseudo_channels: int  # of a stack

    def __post_init__(self) -> None:
        is_named = isinstance(self.name, str) and self.name != ""
        self._want("name", self.name, is_named, "a non-empty string")
        is_timing = isinstance(self.timing, HbmTiming)
        self._want("timing", self.timing, is_timing, "an HbmTiming")
        numbers = {**dataclasses.asdict(self), **dataclasses.asdict(self.timing)}
        for unwanted in ("name", "timing"):
            del numbers[unwanted]
        for field, value in numbers.items():
            is_int = isinstance(value, int) and not isinstance(value, bool)
            self._want(field, value, is_int, "an integer")
            self._want(field, value, value > 0, "positive")
        for field, holds, wanted in (*self._size_rules(), *self._timing_rules()):
            self._want(field, numbers[field], holds, wanted)

    def _size_rules(self) -> Iterator[tuple[str, bool, str]]:
        """(field, whether it is possible, what it must be)."""
        yield "tck_ps", 100 <= self.tck_ps <= 10_000, "between 100 and 10000 picoseconds"
        for field in ("rows", "pseudo_channels"):
            value = getattr(self, field)
            yield field, value & (value - 1) == 0, "a power of two"
        yield "rows", 2 <= self.rows <= 1 << 20, "between 2 and 2^20"
        yield "pseudo_channels", self.pseudo_channels <= 512, "at most 512"

    def _timing_rules(self) -> Iterator[tuple[str, bool, str]]:
        """(field, whether it is possible beside the others, what it must be)."""

        def least(field: str, bound: int, why: str) -> tuple[str, bool, str]:
            return field, getattr(self.timing, field) >= bound, f"at least {bound} ({why})"

        t = self.timing
        yield least("rcd_rd", ACT_CYCLES, "the cycles of ACT on the row bus")
        yield least("rcd_wr", ACT_CYCLES, "the cycles of ACT on the row bus")
        yield least("ras", t.rcd_rd, "rcd_rd: a row stays open until it can be read")
        yield least("ras", t.rcd_wr, "rcd_wr: a row stays open until it can be written")
        yield least("rc", t.ras, "ras")
        yield least("ccd_s", BURST_CYCLES, "the cycles of a burst")
        yield least("ccd_l", t.ccd_s, "ccd_s")
        yield least("rrd_s", ACT_CYCLES, "the cycles of ACT on the row bus")
        yield least("rrd_l", t.rrd_s, "rrd_s")
        yield least("faw", t.rrd_s, "rrd_s")
        yield least("wtr_l", t.wtr_s, "wtr_s")
        free = t.cl + BURST_CYCLES - t.cwl
        yield least("rtw", free, "cl + burst - cwl: the data bus is free of the read")
        yield least("rfc_pb", t.rc, "rc: a refresh opens and closes a row")
        yield least("rfc_ab", t.rfc_pb, "rfc_pb: all banks take no less than one")
        # Otherwise a controller that refreshes on time never serves anything.
        yield least(
            "refi", t.rfc_ab + t.rc + 1, "more than rfc_ab + rc: a REFab and one use of a row"
        )
        yield least("refi", BANKS * t.rrefd, f"{BANKS} REFpb, rrefd apart")

    def _want(self, field: str, value: object, holds: bool, wanted: str) -> None:
        if not holds:
            raise ValueError(
                f"HBM generation {self.name!r}: {field} must be {wanted}, not {value!r}"
            )

    @property
    def tck_ns(self) -> float:
        return self.tck_ps / 1000

    @property
    def bytes(self) -> int:
        """Capacity of a PC."""
        return BANKS * self.rows * ROW_BYTES

    @property
    def peak_bytes_per_second(self) -> float:
        """Of a PC, when its data bus never rests."""
        return BEAT_BYTES * 1e12 / self.tck_ps

    @property
    def refresh_fraction(self) -> float:
        """Share of the time that all-bank refresh takes from a stream."""
        return self.timing.rfc_ab / self.timing.refi

    def replace(self, **changes: Any) -> "HbmGeneration":
        """A checked copy with some fields changed, its own or those of its timing."""
        inner = {key: changes.pop(key) for key in _names(HbmTiming) if key in changes}
        if inner:
            timing = changes.get("timing", self.timing)
            changes["timing"] = dataclasses.replace(timing, **inner)
        return dataclasses.replace(self, **changes)


def load_generation(name_or_path: str) -> HbmGeneration:
    """One of GENERATIONS by name, or a TOML file of the same form; its stem is the default name.

    Raises ValueError, in one line that names the file and the field.
    """
    preset = name_or_path in GENERATIONS
    path = PRESETS / f"{name_or_path}.toml" if preset else Path(name_or_path)
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        names = ", ".join(GENERATIONS)
        raise ValueError(f"{path}: no such file, nor an HBM generation ({names})") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file of an HBM generation: {error}") from None
    data.setdefault("name", path.stem)
    _check_fields(data, HbmGeneration, "field", str(path))
    if not isinstance(data["timing"], dict):
        raise ValueError(f"{path}: timing must be a table, not {data['timing']!r}")
    _check_fields(data["timing"], HbmTiming, "timing field", str(path))
    try:
        return HbmGeneration(**{**data, "timing": HbmTiming(**data["timing"])})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _names(of: type) -> list[str]:
    return [field.name for field in dataclasses.fields(of)]


def _check_fields(data: dict[str, Any], of: type, kind: str, source: str) -> None:
    names = _names(of)
    for key in data:
        if key not in names:
            raise ValueError(
                f"{source}: unknown {kind} {key!r}, expected one of {', '.join(names)}"
            )
    missing = [name for name in names if name not in data]
    if missing:
        raise ValueError(f"{source}: missing {kind}s {', '.join(missing)}")
