"""What a launch of a program costs, ONNX node by ONNX node, before anything is simulated.

The sequencer's trace is followed (`sim.scalar`), no data is touched: counts are exact, cycles are
the least that an engine could need if it never waited.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from isa.config import HBM_ATOM_BYTES
from isa.image import ProgramImage
from isa.table import Engine
from sim.host import InputError
from sim.scalar import Command, ScalarMachine
from sim.shared_loads import parts_of, split


@dataclass
class Cost:
    """Of one node in one launch. ``first`` to ``last``: its instructions in the text, both
    included; ``executed`` counts those of the engines as often as they run. ``macs`` leave the
    array's padding out. What a load brings for several nodes is theirs, its instructions are not.

    ``cycles``: of each engine, what its work takes at its full rate: a tile of R x C weights for a
    row, a beat of the memory's port, a vector of ``lanes`` results.
    """

    node: str
    first: int
    last: int
    executed: int = 0
    macs: int = 0
    hbm_read: int = 0
    hbm_written: int = 0
    matrix_cycles: int = 0
    memory_cycles: int = 0
    vector_cycles: int = 0

    @property
    def cycles(self) -> int:
        """Those of the busiest engine."""
        return max(self.matrix_cycles, self.memory_cycles, self.vector_cycles)


def costs(image: ProgramImage, tokens: int = 1, past: int = 0) -> list[Cost]:
    """Every node's, in the program's order, of a launch with so many new tokens after ``past``.

    Instructions between nodes (loops, waits) count for the node "". Raises InputError where the
    context is too short, SimulationError where the program traps.
    """
    memory = image.memory(filled=not image.io.is_model)  # data decides nothing
    if image.io.is_model:
        if past and not image.io.causal:
            raise InputError("an encoder has no past tokens")
        if tokens + past > image.io.max_context:
            raise InputError(
                f"{tokens} tokens after {past} exceed the program's context of "
                f"{image.io.max_context}"
            )
        if tokens > (most := image.io.largest_launch):
            raise InputError(f"{tokens} tokens are more than the {most} that it takes at once")
        image.io.write_sizes(memory, tokens, past)
    found = _nodes(image)
    for command in ScalarMachine(image.config, image.code).run(memory):
        cost = found[image.node_of(command.pc)]
        cost.executed += command.engine != Engine.SEQUENCER
        _add(cost, image, command)
    for cost in list(found.values()):
        if parts := parts_of(image, cost.node):
            _share(found, cost, parts)
    return list(found.values())


def _nodes(image: ProgramImage) -> dict[str, Cost]:
    """A node may have several runs of instructions: from the first of all to the last."""
    count = len(image.ops())
    starts = image.nodes or [(0, "")]
    ends = [start for start, _ in starts[1:]] + [count]
    found: dict[str, Cost] = {"": Cost("", 0, 0)} if starts[0][0] else {}
    for (first, node), end in zip(starts, ends, strict=True):
        cost = found.setdefault(node, Cost(node, first, end - 1))
        cost.last = end - 1
    return found


def _share(found: dict[str, Cost], loads: Cost, parts: Mapping[str, int]) -> None:
    """What loads for several nodes bring, and take, is those nodes'."""
    for name in ("hbm_read", "memory_cycles"):
        for node, count in split(getattr(loads, name), parts).items():
            cost = found.setdefault(node, Cost(node, loads.first, loads.last))
            setattr(cost, name, getattr(cost, name) + count)
        setattr(loads, name, 0)


def _add(cost: Cost, image: ProgramImage, command: Command) -> None:
    config = image.config
    fields = {n: v for n, v in command.named().items() if isinstance(v, int)}
    if command.engine == Engine.MATRIX and fields:
        cost.macs += fields["m"] * fields["k"] * fields["n"]
        tiles = -(-fields["k"] // config.rows) * -(-fields["n"] // config.cols)
        cost.matrix_cycles += tiles * fields["m"]
    elif command.engine == Engine.VECTOR and fields:
        cost.vector_cycles += fields["rows"] * -(-fields["cols"] // config.lanes)
    elif command.engine in (Engine.LOAD, Engine.STORE) and fields:
        moved = fields["rows"] * fields.get("planes", 1) * fields["bytes"]
        if command.engine == Engine.LOAD:
            cost.hbm_read += moved
        else:
            cost.hbm_written += moved
        cost.memory_cycles += -(-moved // config.axi_bytes)


def regions(image: ProgramImage) -> list[tuple[int, int, str]]:
    """What lies in HBM: (first byte, bytes, name), by address; weights are what has no name."""
    io, code = image.io, len(image.code)
    named = [(image.code_base * HBM_ATOM_BYTES, code, "code")]
    for tensor in io.tensors:
        if tensor.kind != "mask":
            name = tensor.name or tensor.output or tensor.kind
            named.append((tensor.address, tensor.end - tensor.address, f"{name} ({tensor.kind})"))
    if io.is_model:
        named.append((io.new_address, 8, "arguments"))
    if io.slots:
        named.append((io.slots.address, io.slots.count * io.slots.record_bytes, "slots"))
    found, at = [], 0
    for first, size, name in sorted(named):
        if first > at and first - at > image.config.hbm_alignment_bytes:
            found.append((at, first - at, "weights, tables"))
        found.append((first, size, name))
        at = max(at, first + size)
    return found


def totals(found: list[Cost]) -> dict[str, int]:
    """Sums over all nodes."""
    sums: dict[str, int] = defaultdict(int)
    for cost in found:
        for name, value in vars(cost).items():
            if name not in ("node", "first", "last"):
                sums[name] += value
    return dict(sums)
