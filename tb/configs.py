"""The small chip of the benches; units and core share it, so that their modules are the same."""

from isa.config import ChipConfig, load_config


def bench_config() -> ChipConfig:
    """4 × 4 array, 4 lanes, 2 banks of 16-byte lines, 8-byte beats."""
    return load_config("tiny").replace(
        name="bench",
        hbm="",
        rows=4,
        cols=4,
        lanes=4,
        line_bytes=16,
        axi_bytes=8,
        sram_bytes=1 << 14,
        sram_banks=2,
        acc_rows=64,
        store_bursts=8,  # so few that the benches see all of them without a response
    )
