"""The chips of the proofs."""

from dataclasses import dataclass

from isa.config import ChipConfig


@dataclass(frozen=True)
class NarrowConfig(ChipConfig):
    """A chip whose data are narrower than the engines allow; its other parts do not mind."""

    def __post_init__(self) -> None:
        self._check_types()


# The smallest chip that a configuration may describe.
SMALL = ChipConfig(
    name="small",
    rows=4,
    cols=4,
    lanes=2,
    line_bytes=8,
    sram_bytes=512,
    sram_banks=2,
    acc_rows=16,
    axi_bytes=4,
    queue_depth=2,
    burst_beats=4,
    load_bursts=2,
    store_bursts=2,
)
NARROW = NarrowConfig(
    name="narrow",
    rows=2,
    cols=2,
    lanes=1,
    line_bytes=2,
    sram_bytes=16,
    sram_banks=2,
    acc_rows=16,
    axi_bytes=1,
    queue_depth=2,
    burst_beats=4,
    load_bursts=2,
    store_bursts=2,
)
# Of lines of two beats, beats of two bytes, numbers of 32 bits.
ALIGNING = NARROW.replace(lanes=2, line_bytes=4, sram_bytes=32, axi_bytes=2, burst_beats=2)
# Two pseudo-channels behind a port of two of their beats.
TWO_CHANNELS = SMALL.replace(
    line_bytes=64, sram_bytes=1 << 12, axi_bytes=32, hbm="hbm3", hbm_channels=2
)
