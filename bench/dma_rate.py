"""How fast the DMA engines of `tiny` move rows between its SRAM and its HBM, RTL of both."""

from collections.abc import Iterator

import numpy as np
from measure import Line

from isa.config import HBM_ATOM_BYTES, load_config
from isa.program import Op, encode_program
from sim.rtl import RtlCore

CHIP = "tiny"
PERCENT = 90
COMMANDS, ROWS, BYTES = 4, 64, 4096
# Where rows begin. Behind each other at byte 20, one ends in the word in which the next begins:
# SECDED makes the memory read such words before they are written.
OFFSETS = {"load": (0, 20), "store": (0, 24, 20)}
_DATA_ATOM = 4096


def measure(quick: bool) -> Iterator[Line]:
    """Copies of 1 MiB, rows behind each other in HBM."""
    core = RtlCore(load_config(CHIP))
    core.sram = np.random.default_rng(1).integers(0, 256, core.config.sram_bytes, np.uint8)
    for mnemonic in ("load", "store"):
        for offset in OFFSETS[mnemonic][: 1 if quick else None]:
            rate = _rate(core, mnemonic, offset)
            refresh = core.config.hbm_mapping.generation.refresh_fraction
            value = 100 * rate / core.config.axi_bytes / (1 - refresh)
            note = f"of (1 - refresh) of the port; {rate:.1f} bytes a cycle"
            wanted = PERCENT if (mnemonic, offset) != ("store", 20) else None
            what = f"{CHIP}, {mnemonic}, rows from byte {offset}"
            yield Line("DMA and HBM", what, value, "%", wanted, note=note)


def _rate(core: RtlCore, mnemonic: str, offset: int) -> float:
    """Bytes a cycle, from the first cycle of the program to its last."""
    atoms = BYTES // HBM_ATOM_BYTES
    rows = {"rows": ROWS, "bytes": BYTES, "hstride": atoms, "sstride": BYTES, "offset": offset}
    ops = [
        Op(mnemonic, {**rows, "hbm": _DATA_ATOM + index * ROWS * atoms, "sram": 0})
        for index in range(COMMANDS)
    ]
    memory = np.zeros(1 << 22, np.uint8)
    code = encode_program([*ops, Op("halt")])
    memory[: len(code)] = np.frombuffer(code, np.uint8)
    result = core.run(memory, 0, len(ops) + 1, 10**6)
    return COMMANDS * ROWS * BYTES / result.cycles
