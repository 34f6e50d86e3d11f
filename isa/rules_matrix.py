"""Rules about operands of the matrix unit, and where its weights end."""

from isa.config import ChipConfig
from isa.formats import ACTIVATIONS, FORMATS
from isa.rules import Number, Operands, Rule, beyond, ceil, misaligned
from isa.traps import Cause


def matrix_rules(config: ChipConfig, f: Operands) -> list[Rule]:
    m, k, n = f.value("m"), f.value("k"), f.value("n")
    tiles, panels = ceil(k, config.rows), ceil(n, config.cols)
    a_end = f.value("a") + f.value("astride") * f.less_one(m) + tiles * config.array_row_bytes
    taken = [name for name, entry in FORMATS.items() if config.element in entry.arrays]
    unit = weight_unit(config, f)
    blocks = [name for name in taken if FORMATS[name].block]
    scaled = f.chosen("wf", *blocks) if blocks else 0
    start = f.select(scaled, config.line_bytes, unit)
    return [
        *(Rule(Cause.BAD_SIZE, name, f.value(name) == 0) for name in ("m", "k", "n")),
        Rule(Cause.UNSUPPORTED_FORMAT, "af", f.chosen("af", *ACTIVATIONS[config.element]) == 0),
        Rule(Cause.UNSUPPORTED_FORMAT, "wf", f.chosen("wf", *taken) == 0),
        *misaligned(f, config.array_row_bytes, "a", "astride"),
        *misaligned(f, start, "w", "wpanel"),
        *misaligned(f, unit, "wstride"),
        beyond("acc", f.value("acc") + m * panels, config.acc_rows),
        beyond("a", a_end, config.sram_bytes),
        beyond("w", _weights_end(config, f, tiles, panels), config.sram_bytes),
    ]


def weight_unit(config: ChipConfig, f: Operands) -> Number:
    """Bytes of C weights (normal) or R weights (transposed) behind each other."""
    unit: Number = 0
    for name, entry in FORMATS.items():
        if config.element in entry.arrays:
            normal, transposed = entry.bytes_of(config.cols), entry.bytes_of(config.rows)
            size = f.select(f.chosen("layout", "transposed"), transposed, normal)
            unit = f.select(f.chosen("wf", name), size, unit)
    return f.select(unit == 0, 1, unit)


def scale_bytes(config: ChipConfig, f: Operands) -> Number:
    """Bytes in front of a panel's weights: its scales, filled up to a line."""
    header: Number = 0
    for name, entry in FORMATS.items():
        if config.element in entry.arrays and entry.block:
            size = ceil(f.value("k"), entry.block) * (config.cols * entry.scale_bytes)
            lines = ceil(size, config.line_bytes) * config.line_bytes
            header = f.select(f.chosen("wf", name), lines, header)
    return header


def _weights_end(config: ChipConfig, f: Operands, tiles: Number, panels: Number) -> Number:
    """Behind the last byte of weights that is read."""
    stride, n, transposed = f.value("wstride"), f.value("n"), f.chosen("layout", "transposed")
    first = f.value("w") + scale_bytes(config, f)
    unit = weight_unit(config, f)
    panel = f.value("wpanel")
    last = panel * f.less_one(panels)
    normal = last + stride * f.less_one(f.value("k")) + unit
    # Transposed: all panels but the last one have C stored rows, and one of them may end later.
    depth = tiles * unit
    rest = f.less_one(n) & (config.cols - 1)  # rows behind the first of the last panel
    short = last + stride * rest + depth
    full = panel * f.less_one(f.less_one(panels)) + stride * (config.cols - 1) + depth
    full = f.select(panels > 1, full, 0)
    return first + f.select(transposed, f.select(full > short, full, short), normal)
