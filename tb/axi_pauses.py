"""What all of cocotbext-axi's masters and memories get in benches: random pauses, and quiet."""

import logging
import random

_CHANNELS = {"write_if": ("aw", "w", "b"), "read_if": ("ar", "r")}


def quiet(dut, prefix: str) -> None:
    """No line for each burst: they take longer than the simulation."""
    logging.getLogger(f"cocotb.{dut._name}.{prefix}").setLevel(logging.WARNING)


def pause_all(end, stall: float) -> None:
    """Hold up each channel of a master or a memory in a share ``stall`` of the cycles."""
    for half, names in _CHANNELS.items():
        for name in names:
            pause(getattr(getattr(end, half), f"{name}_channel"), stall)


def pause(channel, stall: float) -> None:
    """The same of one channel."""
    channel.set_pause_generator(random.random() < stall for _ in iter(int, 1))
