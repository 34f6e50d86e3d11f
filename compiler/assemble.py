"""assemble: instructions, memory and map of inputs and outputs to a program image."""

from collections.abc import Mapping, Sequence

from compiler.builder import Builder
from isa.config import HBM_ATOM_BYTES
from isa.image import ProgramImage
from isa.iomap import IoMap
from isa.program import Op
from isa.table import INSTRUCTION_BYTES


def assemble(
    build: Builder,
    resolved: tuple[Sequence[Op], Sequence[str]],
    io: IoMap,
    meta: Mapping[str, object],
) -> ProgramImage:
    """The image; ``resolved``: the program, and for each instruction the ONNX node it works for.
    The code lies behind everything else."""
    ops, sources = resolved
    code = build.hbm.reserve("code", INSTRUCTION_BYTES * len(ops))
    assert code.address is not None
    nodes: list[tuple[int, str]] = []
    for number, source in enumerate(sources):
        if not nodes or nodes[-1][1] != source:
            nodes.append((number, source))
    return ProgramImage.from_ops(
        build.config,
        list(ops),
        code_base=code.address // HBM_ATOM_BYTES,
        hbm=build.hbm.contents(),
        hbm_bytes=build.hbm.size,
        io=io,
        nodes=nodes,
        meta=dict(meta),
    )
