"""Rules about operands of the sequencer's ld and st, and of the DMA engines."""

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.rules import INDEX_BYTES, Number, Operands, Rule, beyond, misaligned
from isa.table import Engine
from isa.traps import Cause

_SCALAR_WORD_BYTES = 4


def scalar_rules(config: ChipConfig, f: Operands) -> list[Rule]:
    """ld and st: ``x`` is the base in atoms, ``y`` the offset in bytes."""
    address = f.value("x") * HBM_ATOM_BYTES + f.value("y")
    limit = f.memory_atoms() * HBM_ATOM_BYTES
    return [
        Rule(
            Cause.MISALIGNED,
            "y",
            (f.value("y") & (_SCALAR_WORD_BYTES - 1)) != 0,
            f.value("y"),
            _SCALAR_WORD_BYTES,
        ),
        beyond("x", address + _SCALAR_WORD_BYTES, limit),
    ]


def dma_rules(config: ChipConfig, f: Operands, engine: Engine) -> list[Rule]:
    """A plane ends with its last row. Rows in SRAM are filled up to `byte_vector_bytes`, which
    changes no verdict: all distances there, and its size, are multiples of that."""
    rows, size, planes = f.value("rows"), f.value("bytes"), f.value("planes")
    more, more_planes = f.less_one(rows), f.less_one(planes)
    in_hbm, in_sram = f.value("hstride") * more * HBM_ATOM_BYTES, f.value("sstride") * more
    hbm_planes = f.value("hplane") * more_planes * HBM_ATOM_BYTES + in_hbm
    sram_planes = f.value("splane") * more_planes + in_sram
    hstride, hplane = (f.value(name) * HBM_ATOM_BYTES for name in ("hstride", "hplane"))
    written = ("hstride", hstride, "hplane", hplane, in_hbm)
    bad_planes, gather = planes == 0, 0
    if engine == Engine.LOAD:
        gather = f.opcode_in("gather")
        bad_planes = bad_planes & (gather == 0)
        hbm_planes = f.select(gather, 0, hbm_planes)  # row number 0 is legal, others may be
        sram_planes = f.select(gather, in_sram, sram_planes)
        written = ("sstride", f.value("sstride"), "splane", f.value("splane"), in_sram)
    # What needs no product first: it is known a pipeline stage earlier.
    outside = (f.value("hbm") * HBM_ATOM_BYTES + f.value("offset") + size) + hbm_planes
    inside = (f.value("sram") + size) + sram_planes
    stride_name, stride, plane_name, plane, last_row = written
    return [
        Rule(Cause.BAD_SIZE, "rows", rows == 0),
        Rule(Cause.BAD_SIZE, "bytes", size == 0),
        Rule(Cause.BAD_SIZE, "planes", bad_planes),
        *misaligned(f, config.line_bytes, "sram", "sstride", "splane"),
        Rule(Cause.OVERLAP, stride_name, (rows > 1) & (stride < size)),
        Rule(Cause.OVERLAP, plane_name, (planes > 1) & (plane < last_row + size)),
        beyond("hbm", outside, f.memory_atoms() * HBM_ATOM_BYTES),
        beyond("sram", inside, config.sram_bytes),
        *(_list(config, f, gather, inside) if engine == Engine.LOAD else []),
    ]


def _list(config: ChipConfig, f: Operands, gather: Number, inside: Number) -> list[Rule]:
    """What `gather` wants of its list of row numbers, which is read while rows are written: all of
    it lies in front of the first of them or behind the last, which ends at ``inside``."""
    start = f.value("hplane")
    end = start + f.value("rows") * INDEX_BYTES
    rules = [
        *misaligned(f, config.line_bytes, "hplane"),
        Rule(Cause.OVERLAP, "hplane", (start < inside) & (f.value("sram") < end)),
        beyond("hplane", end, config.sram_bytes),
    ]
    return [rule._replace(broken=gather & rule.broken) for rule in rules]
