"""Whose a run's cycles are: each ONNX node's, and each layer's.

Every cycle belongs to the oldest instruction, in program order, that has not retired, and is in the
class of that instruction's engine, or of the sequencer while that has not handed it on. So nodes,
and the classes of each, add up to the run. Beside that every cycle of an engine belongs to the
instruction at the head of its queue; idle cycles are nobody's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isa.config import ChipConfig
from isa.counters import CYCLE_CLASSES
from isa.image import ProgramImage
from isa.table import Engine
from sim.cycle.record import CLASSES
from sim.cycle.trace import FIELDS, KINDS, Trace
from sim.shared_loads import parts_of, split

ENGINES = [engine.name.lower() for engine in Engine if engine != Engine.SEQUENCER]
_LAYER = re.compile(r"(?:^|[./_\"])(?:layers?|blocks?|h)[./_](\d+)(?=[./_\"])")
_LOOP = re.compile(r", and in (\d+) more layers$")  # what jcc says of layers that are one loop
NO_NODE = "(between nodes)"


@dataclass
class Share:
    """A node's or a layer's part of a run.

    ``classes``: class → cycles in which its instructions were the oldest; `cycles` is their sum.
    ``engines``: engine → class → cycles that the engine spent on it. ``without_overlap``: what its
    products would take on a systolic array of this size that does one tile after another, by the
    dataflow: see `without_overlap`.
    """

    name: str
    instructions: int = 0
    classes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CYCLE_CLASSES, 0))
    engines: dict[str, dict[str, int]] = field(
        default_factory=lambda: {name: dict.fromkeys(CYCLE_CLASSES, 0) for name in ENGINES}
    )
    without_overlap: dict[str, int] = field(default_factory=lambda: {"ws": 0, "os": 0})

    @property
    def cycles(self) -> int:
        return sum(self.classes.values())

    def busy(self, engine: str) -> int:
        """Cycles in which the engine had the node's work: all but waits for semaphores."""
        classes = self.engines[engine]
        return sum(classes.values()) - classes["semaphore"]

    @property
    def tables(self) -> list[dict[str, int]]:
        """All counts of cycles by class."""
        return [self.classes, *self.engines.values()]

    @property
    def longest_pole(self) -> str:
        """The engine that had the most of its work; "" where none had any."""
        longest = max(ENGINES, key=self.busy)
        return longest if self.busy(longest) else ""

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**vars(self), "cycles": self.cycles, "longest_pole": self.longest_pole}


def layer_of(node: str) -> str:
    """The layer that exporters write into a node's name, `layers.3`, `h.3`, `blocks.3`; "" where
    there is none. Layers that are one loop are one."""
    found, loop = _LAYER.search(node), _LOOP.search(node)
    if not found:
        return ""
    return f"layer {found[1]}" + (f" and {loop[1]} more" if loop else "")


def without_overlap(rows: int, cols: int, m: int, k: int, n: int) -> dict[str, int]:
    """Cycles of an (m, k) by (k, n) product on a systolic array of ``rows`` × ``cols`` where loads,
    rows and drains of tiles do not overlap: weights or outputs stationary.

    Each tile costs its rows, the way through the array, and with weights stationary R cycles to
    load them; the first result counts from cycle 0.
    """
    ws = -(-k // rows) * -(-n // cols) * (m + 2 * rows + cols - 2) - 1
    os = -(-m // rows) * -(-n // cols) * (k + rows + cols - 2) - 1
    return {"ws": ws, "os": os}


class Costs(Protocol):
    """What each place of a trace took, as `Record` and `Estimate` have it: (n, classes)."""

    @property
    def owned(self) -> NDArray[np.int64]:
        """Cycles in which it was the oldest."""

    @property
    def classes(self) -> NDArray[np.int64]:
        """Cycles that its engine spent on it."""


def node_shares(image: ProgramImage, trace: Trace, costs: Costs) -> list[Share]:
    """Each node's, in the program's order, of a run that took ``costs``."""
    executed = trace.commands[trace.order]
    pcs, engines = (executed[:, FIELDS[name]] for name in ("pc", "engine"))
    firsts, at = np.unique(pcs, return_index=True)
    names = {pc: image.node_of(pc) or NO_NODE for pc in firsts[np.argsort(at)].tolist()}
    found = {name: Share(name) for name in names.values()}
    number = {name: place for place, name in enumerate(found)}
    of_pc = np.zeros(int(firsts[-1]) + 1, np.int64)
    of_pc[list(names)] = [number[name] for name in names.values()]
    node, times = of_pc[pcs], trace.times
    kinds, *sizes = (executed[:, FIELDS[name]] for name in ("kind", "m", "k", "n"))
    products = kinds == KINDS["Matmul"]
    forms = _forms(image.config, node[products], times[products], [s[products] for s in sizes])
    owned = _sums(costs.owned, node, len(found))
    spent = {
        name: _sums(costs.classes * (engines == Engine[name.upper()])[:, None], node, len(found))
        for name in ENGINES
    }
    counts = np.bincount(node, times, len(found)).astype(np.int64).tolist()
    for place, share in enumerate(found.values()):
        share.instructions = counts[place]
        _add(share.classes, owned[place])
        for name, rows in spent.items():
            _add(share.engines[name], rows[place])
        share.without_overlap |= forms.get(place, {})
    for share in list(found.values()):
        if parts := parts_of(image, share.name):
            _share(found, found.pop(share.name), parts)
    return list(found.values())


def _share(found: dict[str, Share], loads: Share, parts: Mapping[str, int]) -> None:
    """Loads for several nodes are those nodes', by bytes; the first one's as instructions."""
    shares = [found.setdefault(node, Share(node)) for node in parts]
    shares[0].instructions += loads.instructions
    for index, counts in enumerate(loads.tables):
        for name, count in counts.items():
            for share, part in zip(shares, split(count, parts).values(), strict=True):
                share.tables[index][name] += part


def _sums(counts: NDArray[np.int64], node: NDArray[np.int64], nodes: int) -> list[list[int]]:
    """Of each node."""
    found = np.zeros((nodes, counts.shape[1]), np.int64)
    np.add.at(found, node, counts)
    return found.tolist()


def _forms(
    config: ChipConfig,
    node: NDArray[np.int64],
    times: NDArray[np.int64],
    sizes: list[NDArray[np.int64]],
) -> dict[int, dict[str, int]]:
    """Of each node's products, `without_overlap`."""
    alike, counts = np.unique(np.stack([node, *sizes, times], axis=1), axis=0, return_counts=True)
    found: dict[int, dict[str, int]] = {}
    for (place, *size, more), count in zip(alike.tolist(), counts.tolist(), strict=True):
        sums = found.setdefault(place, {"ws": 0, "os": 0})
        for dataflow, cycles in without_overlap(config.rows, config.cols, *size).items():
            sums[dataflow] += cycles * count * more
    return found


def _add(classes: dict[str, int], counts: list[int]) -> None:
    for name, count in zip(CLASSES, counts, strict=True):
        classes[name] += count


def layer_shares(nodes: list[Share]) -> list[Share]:
    """The same, node by node put together by `layer_of`."""
    found: dict[str, Share] = {}
    for node in nodes:
        name = layer_of(node.name) or "(no layer)"
        share = found.setdefault(name, Share(name))
        share.instructions += node.instructions
        _add(share.classes, list(node.classes.values()))
        for engine, classes in node.engines.items():
            _add(share.engines[engine], list(classes.values()))
        for dataflow, cycles in node.without_overlap.items():
            share.without_overlap[dataflow] += cycles
    return list(found.values())
