"""The cycle model's library: one for all chips."""

from pathlib import Path

from sim.builds import build_library

SOURCE = Path(__file__).with_name("model.cpp")


def build_model() -> Path:
    """The library, built unless it exists. Raises ValueError with the compiler's output."""
    headers = sorted(SOURCE.parent.glob("*.h"))
    return build_library("cycle/model", "the cycle model", [SOURCE, *headers], "-O3")
