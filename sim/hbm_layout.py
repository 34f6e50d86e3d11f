"""C++ of an HBM generation and of its address mapping, for harnesses of verilated controllers."""

from dataclasses import fields
from pathlib import Path

from isa.hbm import HbmTiming
from isa.hbm_map import HbmMap

HEADERS = tuple(Path(__file__).with_name(name) for name in ("hbm_device.h", "hbm_checker.h"))
_SOURCES = {  # fields of the mapping, from the function's arguments; others mix in the row
    "row": "row",
    "column": "column",
    "bank": "bank",
    "group": "bank >> 2",
    "channel": "channel",
}


def address_layout(mapping: HbmMap) -> str:
    """``column_address(channel, bank, row, column)``: the inverse of the mapping, bit by bit."""
    lines = []
    for name, source in _SOURCES.items():
        mixed = mapping.xors.get(name, ())
        for bit, at in enumerate(mapping.bits(name)):
            terms = [f"uint64_t(({source}) >> {bit} & 1)"]
            terms += [f"(address >> {other} & 1)" for other in mixed[bit : bit + 1]]
            lines.append(f"  address |= ({' ^ '.join(terms)}) << {at};\n")
    arguments = "uint32_t channel, uint32_t bank, uint32_t row, uint32_t column"
    head = f"static inline uint64_t column_address({arguments}) {{\n  uint64_t address = 0;\n"
    return f"{head}{''.join(lines)}  return address;\n}}\n"


def device_layout(mapping: HbmMap, ecc: bool) -> str:
    """``HBM_CHANNELS``, ``HBM_PORTS`` of their numbers, ``HBM_ECC``, ``kTiming``, ``kRows``, and
    addresses."""
    timing = mapping.generation.timing
    values = ", ".join(f".{f.name} = {getattr(timing, f.name)}" for f in fields(HbmTiming))
    ports = " ".join(f"X({index})" for index in range(mapping.channels))
    return (
        '#include "hbm_checker.h"\n'
        f"#define HBM_CHANNELS {mapping.channels}\n"
        f"#define HBM_PORTS(X) {ports}\n#define HBM_ECC {int(ecc)}\n"
        f"static constexpr hbm::Timing kTiming{{{values}}};\n"
        f"static constexpr uint32_t kRows = {mapping.generation.rows};\n"
        f"{address_layout(mapping)}"
    )
