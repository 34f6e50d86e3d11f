"""Chip configuration: one frozen dataclass, validated once, from which every other part derives."""

import hashlib
import json
import tomllib
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from isa.hbm import BEAT_BYTES, load_generation
from isa.hbm_map import DEFAULT_MAP, HbmMap

PRESETS = Path(__file__).parent / "presets"
BF16_BYTES = 2
F32_BYTES = 4
ELEMENTS = ("bf16", "fp8", "int8")
REFRESHES = ("all", "bank")
SRAM_CODES = ("none", "parity")
HBM_CODES = ("none", "secded")
MEMORY_FIELDS = (
    *(
        "sram_ecc",
        "hbm",
        "hbm_stacks",
        "hbm_channels",
        "hbm_map",
        "hbm_depth",
        "hbm_refresh",
        "hbm_ecc",
    ),
    *("memory_bytes", "memory_latency_cycles", "memory_bytes_per_cycle"),
)
FREE_FIELDS = (*MEMORY_FIELDS, "watchdog_cycles")  # no program depends on them
HBM_ATOM_BYTES = 64  # unit of HBM addresses in instructions


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class ChipConfig:
    """Sizes of one chip. All sizes are powers of two unless said.

    ``rows`` × ``cols`` is the systolic array (R rows reduce, C columns produce); ``lanes`` is the
    number of fp32 lanes of the vector unit; ``line_bytes`` is the width of one SRAM bank, the unit
    in which DMA and engines access the SRAM.
    """

    name: str
    rows: int
    cols: int
    lanes: int
    line_bytes: int
    sram_bytes: int
    sram_banks: int
    acc_rows: int  # accumulator rows, each of `cols` fp32 (int8 arrays: int32) values
    axi_bytes: int  # data width of the memory port
    element: str = "bf16"  # what the array multiplies: one of ELEMENTS
    queue_depth: int = 4  # commands waiting in front of each engine
    burst_beats: int = 16  # longest AXI burst the DMA engines issue
    load_bursts: int = 8  # load bursts in flight (any positive number)
    store_bursts: int = 16  # store bursts without a response
    watchdog_cycles: int = 1 << 17  # without any progress, until the core traps
    hbm: str = ""  # generation of the HBM behind the port, or its TOML file; "": simple memory
    hbm_stacks: int = 1  # stacks of it
    hbm_channels: int = 0  # pseudo-channels of each; 0 = as many as the port takes bytes from
    hbm_map: str = DEFAULT_MAP  # where addresses lie, see isa.hbm_map
    hbm_depth: int = 64  # accesses of each direction from which a controller chooses
    hbm_refresh: str = "all"  # banks at a time: one of REFRESHES
    sram_ecc: str = "none"  # what protects the SRAM: one of SRAM_CODES
    hbm_ecc: str = "secded"  # what protects it: one of HBM_CODES
    memory_bytes: int = 1 << 32  # capacity of the simple memory
    memory_latency_cycles: int = 40  # of the simple memory (any number >= 1)
    memory_bytes_per_cycle: int = 0  # of the simple memory; 0 = the port's width

    def __post_init__(self) -> None:
        self._check_types()
        for field in ("rows", "cols"):
            self._want(field, 4 <= getattr(self, field) <= 256, "between 4 and 256")
        self._want("lanes", self.cols % self.lanes == 0, f"a divisor of cols ({self.cols})")
        widest = max(self.f32_vector_bytes, self.array_row_bytes, BF16_BYTES * self.cols)
        self._want(
            "line_bytes",
            widest <= self.line_bytes <= 1024,
            f"between {widest} (one fp32 vector, one array row, C bf16 weights) and 1024",
        )
        lines = self.sram_bytes // self.line_bytes
        self._want("sram_bytes", self.sram_bytes <= 1 << 24, "at most 16 MiB (24-bit addresses)")
        self._want("sram_bytes", lines >= 64, f"at least 64 lines of {self.line_bytes} bytes")
        self._want("sram_banks", 2 <= self.sram_banks <= 32, "between 2 and 32")
        self._want("acc_rows", 16 <= self.acc_rows <= 1 << 15, "between 16 and 32768")
        self._want("axi_bytes", 4 <= self.axi_bytes <= 128, "between 4 and 128 (AXI4's limit)")
        self._want(
            "axi_bytes",
            self.axi_bytes <= self.line_bytes,
            f"at most line_bytes ({self.line_bytes})",
        )
        self._want("queue_depth", 2 <= self.queue_depth <= 64, "between 2 and 64")
        self._want("burst_beats", 1 <= self.burst_beats <= 256, "between 1 and 256")
        self._want(
            "burst_beats",
            self.burst_beats * self.axi_bytes <= 4096,
            f"at most 4096 bytes of bursts, {4096 // self.axi_bytes} beats",
        )
        self._want(
            "burst_beats",
            self.burst_beats * self.axi_bytes >= self.line_bytes,
            f"enough for one line, {self.line_bytes // self.axi_bytes} beats",
        )
        for field in ("load_bursts", "store_bursts"):
            self._want(field, 1 <= getattr(self, field) <= 64, "between 1 and 64")
        self._want(
            "watchdog_cycles", 256 <= self.watchdog_cycles <= 1 << 30, "between 256 and 2^30"
        )
        if self.hbm:
            self._check_hbm()
        self._want("memory_latency_cycles", self.memory_latency_cycles >= 1, "at least 1")
        self._want("memory_bytes_per_cycle", self.memory_bytes_per_cycle >= 0, "at least 0")

    def _check_hbm(self) -> None:
        self._want(
            "axi_bytes", self.axi_bytes >= BEAT_BYTES, f"at least {BEAT_BYTES} with HBM, or hbm ''"
        )
        self._want("hbm_stacks", self.pseudo_channels <= 64, "at most 64 with all their channels")
        self._want("hbm_depth", 4 <= self.hbm_depth <= 64, "between 4 and 64")
        try:
            most = load_generation(self.hbm).pseudo_channels
            lowest = min(self.hbm_mapping.bits("channel"), default=64)
        except ValueError as error:
            raise ValueError(f"configuration {self.name!r}: hbm: {error}") from None
        self._want("hbm_channels", self.hbm_channels <= most, f"at most {most}, those of a stack")
        self._want(
            "hbm_map",
            1 << lowest >= self.axi_bytes,
            f"one that keeps {self.axi_bytes} bytes (axi_bytes) in one channel",
        )

    def _check_types(self) -> None:
        free = {"load_bursts", "store_bursts", "memory_latency_cycles", "memory_bytes_per_cycle"}
        choices = {"element": ELEMENTS, "hbm_refresh": REFRESHES, "hbm_ecc": HBM_CODES}
        choices["sram_ecc"] = SRAM_CODES
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in choices:
                of = choices[field.name]
                self._want(field.name, value in of, f"one of {', '.join(of)}")
                continue
            if field.type is str:
                self._want(field.name, isinstance(value, str), "a string")
                empty = value == "" and field.name != "hbm"
                self._want(field.name, not empty, "a non-empty string")
                continue
            is_int = isinstance(value, int) and not isinstance(value, bool)
            self._want(field.name, is_int, "an integer")
            if field.name not in free and (value, field.name) != (0, "hbm_channels"):
                self._want(field.name, _power_of_two(value), "a power of two")

    def _want(self, field: str, holds: bool, wanted: str) -> None:
        if not holds:
            value = getattr(self, field)
            raise ValueError(
                f"configuration {self.name!r}: {field} must be {wanted}, not {value!r}"
            )

    @property
    def f32_vector_bytes(self) -> int:
        """One vector of fp32 values; also the alignment of fp32 operands."""
        return F32_BYTES * self.lanes

    @property
    def bf16_vector_bytes(self) -> int:
        """One vector of bf16 values; also the alignment of bf16 operands."""
        return BF16_BYTES * self.lanes

    @property
    def byte_vector_bytes(self) -> int:
        """One vector of 8-bit values; also their alignment and the SRAM's write granule."""
        return self.lanes

    @property
    def element_bytes(self) -> int:
        """Size of an activation in SRAM, and of a weight in the array's own format."""
        return BF16_BYTES if self.element == "bf16" else 1

    @property
    def array_row_bytes(self) -> int:
        """Activations that enter the array together: R elements."""
        return self.element_bytes * self.rows

    @property
    def array_col_bytes(self) -> int:
        """One row of a weight tile in the array's own format: C elements."""
        return self.element_bytes * self.cols

    @property
    def weight_rows_per_cycle(self) -> int:
        """Weight rows that one SRAM line holds when they lie packed behind each other, in the
        array's own format. Narrower formats enter at the same number of rows a cycle."""
        return self.line_bytes // self.array_col_bytes

    @property
    def sram_lines(self) -> int:
        return self.sram_bytes // self.line_bytes

    @property
    def bank_lines(self) -> int:
        return self.sram_lines // self.sram_banks

    @property
    def hbm_alignment_bytes(self) -> int:
        """Alignment that the compiler gives to every buffer and row in HBM."""
        return max(HBM_ATOM_BYTES, self.line_bytes)

    @property
    def bandwidth_bytes_per_cycle(self) -> int:
        """Of the simple memory, after the default is applied."""
        return self.memory_bytes_per_cycle or self.axi_bytes

    @property
    def pseudo_channels(self) -> int:
        """Of all stacks, after the default is applied; 0 with the simple memory. Their numbers'
        upper bits are the stack's."""
        if not self.hbm:
            return 0
        wanted = max(1, self.axi_bytes // BEAT_BYTES // self.hbm_stacks)
        return self.hbm_stacks * (self.hbm_channels or wanted)

    @cached_property
    def hbm_mapping(self) -> HbmMap:
        """Generation and mapping of the HBM; ValueError with the simple memory."""
        return HbmMap(self.hbm_map, load_generation(self.hbm), self.pseudo_channels)

    @property
    def capacity_bytes(self) -> int:
        """Of the memory behind the port."""
        return self.hbm_mapping.bytes if self.hbm else self.memory_bytes

    def to_dict(self) -> dict[str, int | str]:
        return asdict(self)

    def digest(self) -> str:
        """Short hash of what a program depends on: all but `FREE_FIELDS` and the name."""
        data = self.to_dict()
        for field in ("name", *FREE_FIELDS):
            del data[field]
        text = json.dumps(data, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str) -> "ChipConfig":
        """Build from a mapping; unknown or missing fields are refused by name."""
        known = {field.name for field in fields(cls)}
        for key in data:
            if key not in known:
                raise ValueError(
                    f"{source}: unknown field {key!r}, expected one of {sorted(known)}"
                )
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in data]
        if missing:
            raise ValueError(f"{source}: missing fields {', '.join(missing)}")
        try:
            return cls(**data)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def replace(self, **changes: Any) -> "ChipConfig":
        """A validated copy with some fields changed."""
        return replace(self, **changes)


def preset_names() -> list[str]:
    """Names of the presets, smallest chip first."""
    return ["tiny", "small", "edge", "server"]


def load_config(name_or_path: str) -> ChipConfig:
    """A preset by name (``tiny``, ``small``, ``edge``, ``server``) or any TOML file.

    Behind it, fields may be changed: ``tiny,element=int8,rows=16``.
    """
    source, *changes = name_or_path.split(",")
    path = PRESETS / f"{source}.toml" if source in preset_names() else Path(source)
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        names = ", ".join(preset_names())
        raise ValueError(f"{source}: no such configuration file, nor a preset ({names})") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{source}: not a TOML configuration: {error}") from None
    data.setdefault("name", path.stem)
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f"{name_or_path}: a change must be FIELD=VALUE, not {change!r}")
        data[field] = int(value) if value.isdecimal() else value
    if changes:
        data["name"] = ",".join([data["name"], *changes])
    return ChipConfig.from_dict(data, name_or_path)
