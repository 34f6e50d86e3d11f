"""The cycle model's library: one for all chips."""

from pathlib import Path

from sim.builds import build_library

SOURCE = Path(__file__).with_name("model.cpp")


def build_model(every_cycle: bool = False) -> Path:
    """The library, built unless it exists; ``every_cycle``: one that passes over none, for tests.
    Raises ValueError with the compiler's output."""
    flags = ["-O3", "-DEVERY_CYCLE"] if every_cycle else ["-O3"]
    headers = sorted(SOURCE.parent.glob("*.h"))
    return build_library("cycle/model", "the cycle model", [SOURCE, *headers], *flags)
