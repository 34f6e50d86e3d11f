"""Rules about operands of the vector unit."""

from isa.config import F32_BYTES, ChipConfig
from isa.rules import BINARY, REDUCTIONS, Number, Operands, Rule, beyond, ceil, misaligned
from isa.traps import Cause


def vector_rules(config: ChipConfig, f: Operands) -> list[Rule]:
    rows, cols, rep = f.value("rows"), f.value("cols"), f.value("rep")
    vectors, more = ceil(cols, config.lanes), f.less_one(rows)
    acc, rotate = f.chosen("at", "acc"), f.opcode_in("vrot")
    reads_b = f.opcode_in(*BINARY) & (f.chosen("bt", "scalar") == 0)
    dst_unit, a_unit = _vector_bytes(config, f, "dt"), _vector_bytes(config, f, "at")
    b_unit = _vector_bytes(config, f, "bt")
    results = f.select(f.opcode_in(*REDUCTIONS), 1, vectors) * dst_unit
    b_vectors = f.select(f.chosen("bt", "col"), 1, vectors)
    whole = rotate & (cols > config.lanes)
    panels = ceil(cols, config.cols)
    dst_end = f.value("dst") + f.value("dstride") * more + results
    a_end = f.value("a") + f.value("astride") * more + vectors * a_unit
    acc_end = f.value("a") + rows + f.value("astride") * f.less_one(panels)
    b_end = f.value("b") + f.value("bstride") * f.last_row_of_b() + b_vectors * b_unit
    in_memory = f.select(acc, 1, a_unit)
    return [
        Rule(Cause.BAD_SIZE, "rep", rotate & (rep >= cols)),
        Rule(Cause.BAD_SIZE, "rows", rows == 0),
        Rule(Cause.BAD_SIZE, "cols", cols == 0),
        Rule(
            Cause.UNSUPPORTED_FORMAT,
            "dt",
            f.opcode_in("vargmax") & (f.chosen("dt", "f32") == 0),
        ),
        *misaligned(f, dst_unit, "dst", "dstride"),
        *misaligned(f, in_memory, "a", "astride"),
        *(
            rule._replace(broken=reads_b & rule.broken)
            for rule in misaligned(f, b_unit, "b", "bstride")
        ),
        *(
            rule._replace(broken=whole & rule.broken)
            for rule in misaligned(f, config.lanes, "rep", "cols")
        ),
        Rule(Cause.OVERLAP, "dst", whole & (acc == 0) & (f.value("dst") == f.value("a"))),
        Rule(Cause.OVERLAP, "dstride", (rows > 1) & (f.value("dstride") < results)),
        beyond("dst", dst_end, config.sram_bytes),
        beyond(
            "a", f.select(acc, acc_end, a_end), f.select(acc, config.acc_rows, config.sram_bytes)
        ),
        beyond("b", f.select(reads_b, b_end, 0), config.sram_bytes),
    ]


def _vector_bytes(config: ChipConfig, f: Operands, name: str) -> Number:
    """Bytes of a vector of the type that the choice ``name`` says."""
    narrow = f.chosen(name, "i8", "e4m3", "e5m2") if name != "bt" else 0
    size = f.select(f.chosen(name, "bf16"), config.bf16_vector_bytes, F32_BYTES * config.lanes)
    return f.select(narrow, config.byte_vector_bytes, size)
