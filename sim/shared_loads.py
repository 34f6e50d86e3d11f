"""Loads that bring what several nodes need: each node has the part of them that its bytes are."""

from collections.abc import Mapping

from isa.image import ProgramImage


def parts_of(image: ProgramImage, node: str) -> Mapping[str, int]:
    """Bytes of each node in the loads that ``node`` stands for; empty where it is a node itself."""
    shared = image.meta.get("shared_loads", {})
    assert isinstance(shared, dict)
    return shared.get(node, {})


def split(count: int, parts: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers in proportion to ``parts``, whose sum is ``count``."""
    total, before, found = sum(parts.values()), 0, {}
    for node, size in parts.items():
        found[node] = count * (before + size) // total - count * before // total
        before += size
    return found
