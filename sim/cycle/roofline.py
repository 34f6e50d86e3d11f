"""Rooflines of launches: what bounds the nodes, the layers, and the whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

from isa.config import ChipConfig
from isa.files import whole_file
from isa.hbm import BEAT_BYTES
from sim.cycle.launches import Launch
from sim.cycle.shares import NO_NODE, Share, layer_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".png", ".pdf")
WHOLE = "the whole"


@dataclass(frozen=True)
class Dot:
    """``cycles`` of a node or layer are those in which its longest pole had its work, so that it
    can't be above a roof; of the whole, all. ``bytes`` go between SRAM and memory, ``macs`` leave
    the array's padding out."""

    kind: str
    name: str
    macs: int
    bytes: int
    cycles: int

    @property
    def intensity(self) -> float:
        """MACs for each byte; infinite where nothing is moved."""
        return self.macs / self.bytes if self.bytes else float("inf")

    @property
    def rate(self) -> float:
        """MACs a cycle."""
        return self.macs / self.cycles


def roofs(config: ChipConfig) -> dict[str, int]:
    """Of the memory, bytes a cycle: what its port takes, and its pins or the simple memory."""
    pins = config.pseudo_channels * BEAT_BYTES if config.hbm else config.bandwidth_bytes_per_cycle
    return {"HBM pins" if config.hbm else "memory": pins, "memory port": config.axi_bytes}


def dots(launch: Launch) -> list[Dot]:
    """One for each node and layer that multiplies, the last one for the whole."""
    work: dict[str, tuple[int, int]] = {}
    layers: dict[str, tuple[int, int]] = {}
    for cost in launch.costs:
        moved = cost.hbm_read + cost.hbm_written
        work[cost.node or NO_NODE] = cost.macs, moved
        macs, total = layers.get(name := layer_of(cost.node), (0, 0))
        layers[name] = macs + cost.macs, total + moved
    layers.pop("", None)
    found = _dots("node", work, launch.found.nodes) + _dots("layer", layers, launch.found.layers)
    macs, moved = (sum(sizes[place] for sizes in work.values()) for place in (0, 1))
    return [*found, Dot("whole", WHOLE, macs, moved, launch.found.cycles)]


def _dots(kind: str, work: dict[str, tuple[int, int]], shares: Sequence[Share]) -> list[Dot]:
    found = []
    for share in shares:
        macs, moved = work.get(share.name, (0, 0))
        if macs:
            found.append(Dot(kind, share.name, macs, moved, share.busy(share.longest_pole)))
    return found


def need_plots(path: Path) -> None:
    """ValueError where `write_rooflines` would not know what to write, or with what."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: a picture ends in {', '.join(SUFFIXES)}")
    need_matplotlib("--plot")


def need_matplotlib(flag: str) -> None:
    """ValueError, which says what to install."""
    if not find_spec("matplotlib"):
        raise ValueError(f"{flag} needs matplotlib: pip install 'jalapeno[plots]'")


def write_rooflines(path: Path, config: ChipConfig, shown: Sequence[Launch]) -> None:
    """One picture for each launch, in one file; whole or not at all."""
    with whole_file(path) as file:
        draw_rooflines(file, path.suffix[1:], config, shown)


def draw_rooflines(file: IO, kind: str, config: ChipConfig, shown: Sequence[Launch]) -> None:
    """The same into an open file; ``kind``: svg, png or pdf."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * len(shown), 5), layout="constrained")
    figure.suptitle(config.name)
    for axes, launch in zip(figure.subplots(1, len(shown), squeeze=False).flat, shown, strict=True):
        _draw(axes, config, launch)
    figure.savefig(file, format=kind)


def _draw(axes: "Axes", config: ChipConfig, launch: Launch) -> None:
    found = [dot for dot in dots(launch) if dot.macs]
    peak, finite = config.rows * config.cols, [dot.intensity for dot in found if dot.bytes]
    ridge = peak / min(roofs(config).values())
    ends = min([*finite, ridge]) / 4, max([*finite, ridge]) * 4
    for (name, rate), style in zip(roofs(config).items(), ("-", "--"), strict=True):
        label = f"{name}: {rate} bytes a cycle"
        knee = [ends[0], max(ends[0], peak / rate), ends[1]]
        axes.plot(knee, [min(peak, rate * x) for x in knee], style, label=label)
    axes.axhline(peak, color="black", linewidth=1, label=f"array: {peak} MACs a cycle")
    for kind, size in (("node", 12), ("layer", 40), ("whole", 160)):
        same = [dot for dot in found if dot.kind == kind]
        x = [min(dot.intensity, ends[1]) for dot in same]
        marker = "*" if kind == "whole" else "o"
        axes.scatter(x, [dot.rate for dot in same], size, marker=marker, alpha=0.6, label=kind)
    about = " (estimated)" if launch.found.estimate else ""
    title = f"{launch.name}, {launch.found.cycles:,} cycles{about}"
    axes.set(xscale="log", yscale="log", title=title)
    axes.set(xlabel="MACs for each byte of memory", ylabel="MACs a cycle")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
