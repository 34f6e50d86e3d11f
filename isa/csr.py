"""The host's registers: how a chip is started and looked at, by 32-bit words on AXI4-Lite."""

from dataclasses import dataclass

from isa.counters import COUNTERS, CYCLE_CLASSES, HBM_COUNTERS, HBM_LATENCIES
from isa.table import Engine

ADDRESS_BITS = 12
WORD_BYTES = 4
ID = 0x4A4C504E
VERSION = 1
START = 1  # bit of `control`
RUNNING, HALTED, TRAPPED = 1, 2, 4  # bits of `status`
_COUNTERS_OFFSET, _CLASSES_OFFSET, _HBM_OFFSET = 0x100, 0x200, 0x300


@dataclass(frozen=True)
class Csr:
    """A register: ``access`` is "ro", "rw", or "wo" (reads as 0)."""

    name: str
    offset: int
    access: str
    doc: str


_CONTROL = (
    ("id", "ro", f"0x{ID:08x}"),
    ("version", "ro", "of this map and of the instruction set"),
    ("config_low", "ro", "digest of the chip's configuration, the lower 32 of its 64 bits"),
    ("config_high", "ro", "the upper 32 bits"),
    ("control", "wo", "bit 0: start the program, as all registers below say"),
    ("status", "ro", "bit 0 running, bit 1 halted, bit 2 trapped"),
    ("trap_cause", "ro", "isa.traps.Cause; 0 without a trap"),
    ("trap_pc", "ro", "index of the instruction that trapped"),
    ("trap_where", "ro", "position of the field in its format, or number of the semaphore"),
    ("code_base", "rw", "place of instruction 0 in memory, in atoms of 64 bytes"),
    ("code_count", "rw", "number of instructions"),
    (
        "memory_atoms",
        "rw",
        "memory that the program may touch, in atoms from 0 on: whole beats of the port",
    ),
    ("cycles_low", "ro", "cycles that the program ran; reading it holds the upper half"),
    ("cycles_high", "ro", "upper half, from the time at which the lower half was read"),
    ("conflicts", "ro", "cycles in which the SRAM refused an access"),
    (
        "trap_atom",
        "ro",
        "atom of 64 bytes of memory that was refused, or of a wrong line of SRAM",
    ),
    ("bus_errors", "ro", "beats and responses of the memory that were errors"),
)


def class_name(engine: Engine, name: str) -> str:
    """Register that counts an engine's cycles of one class."""
    return f"{engine.name.lower()}_{name}_cycles"


def hbm_name(name: str) -> str:
    """Register of a counter of the HBM controllers; 0 on a chip without them."""
    return f"hbm_{name}"


def _map() -> tuple[Csr, ...]:
    found = [
        Csr(name, WORD_BYTES * index, access, doc)
        for index, (name, access, doc) in enumerate(_CONTROL)
    ]
    for index, (name, doc) in enumerate(COUNTERS.items()):
        found.append(Csr(name, _COUNTERS_OFFSET + WORD_BYTES * index, "ro", doc))
    places = [(engine, name) for engine in Engine for name in CYCLE_CLASSES]
    for index, (engine, name) in enumerate(places):
        doc = f"cycles in which the {engine.name.lower()} {CYCLE_CLASSES[name]}"
        offset = _CLASSES_OFFSET + WORD_BYTES * index
        found.append(Csr(class_name(engine, name), offset, "ro", doc))
    for index, (name, doc) in enumerate({**HBM_COUNTERS, **HBM_LATENCIES}.items()):
        offset = _HBM_OFFSET + WORD_BYTES * index
        found.append(Csr(hbm_name(name), offset, "ro", f"HBM: {doc}"))
    return tuple(found)


REGISTERS = _map()
BY_NAME = {register.name: register for register in REGISTERS}
if len({register.offset for register in REGISTERS}) != len(BY_NAME) or len(BY_NAME) != len(
    REGISTERS
):
    raise ValueError("register map: names and offsets must be unique")
