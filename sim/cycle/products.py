"""Matrix products from HBM to HBM, written out for any chip."""

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.image import ProgramImage
from isa.program import Op, Value

_WEIGHTS = {"bf16": "bf16", "fp8": "e4m3", "int8": "i8"}


def product(config: ChipConfig, m: int, tiles: int, panels: int) -> ProgramImage:
    """(m, tiles R) times (tiles R, panels C), in the array's own format: loads, one `matmul` for
    each panel, and what the vector unit makes of it goes back. All operands lie in the SRAM at once
    and two panels in the accumulators; ValueError where they do not fit."""
    line, k = config.line_bytes, tiles * config.rows
    a_row = _ceil(k * config.element_bytes, line)
    panel_bytes = _ceil(k * config.array_col_bytes, line)
    out_row = _ceil(config.cols * 2, line)
    a, w = 0, m * a_row
    out = w + panels * panel_bytes
    if out + 2 * m * out_row > config.sram_bytes or 2 * m > config.acc_rows:
        raise ValueError(f"{config.name} has no room for a product of {m} x {k} x {panels} panels")
    ops = [_copy("load", a, m, k * config.element_bytes, a_row, signals=(0,))]
    ops += [_copy("load", w + p * panel_bytes, 1, panel_bytes, line, (1,)) for p in range(panels)]
    dtype = _WEIGHTS[config.element]
    for panel in range(panels):
        acc, place = panel % 2 * m, out + panel % 2 * m * out_row
        fields: dict[str, Value] = {
            "acc": acc,
            "a": a,
            "astride": a_row,
            "m": m,
            "k": k,
            "n": config.cols,
        }
        fields |= {"w": w + panel * panel_bytes, "wstride": config.array_col_bytes}
        waits = ((1, 1), *([(0, 1)] if panel == 0 else []), *([(3, 1)] if panel > 1 else []))
        formats: dict[str, Value] = {"af": dtype, "wf": dtype}
        ops.append(Op("matmul", {**fields, **formats}, waits=waits, signals=(2,)))
        moved: dict[str, Value] = {
            "dst": place,
            "dstride": out_row,
            "a": acc,
            "rows": m,
            "cols": config.cols,
        }
        free = ((5, 1),) if panel > 1 else ()
        kinds: dict[str, Value] = {"at": "acc", "dt": "bf16"}
        ops.append(Op("vmov", {**moved, **kinds}, waits=((2, 1), *free), signals=(3, 4)))
        ops.append(_copy("store", place, m, config.cols * 2, out_row, (5,), ((4, 1),)))
    return ProgramImage.from_ops(config, [*ops, Op("halt")], hbm_bytes=1 << 22)


def _ceil(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _copy(
    mnemonic: str,
    sram: int,
    rows: int,
    size: int,
    stride: int,
    signals: tuple[int, ...] = (),
    waits: tuple[tuple[int, int], ...] = (),
) -> Op:
    """Rows of ``size`` bytes; those of HBM begin with atoms."""
    hbm = {"hbm": 1 << 10, "hstride": _ceil(size, HBM_ATOM_BYTES) // HBM_ATOM_BYTES}
    fields: dict[str, Value] = {**hbm, "sram": sram, "sstride": stride, "rows": rows, "bytes": size}
    return Op(mnemonic, fields, waits=waits, signals=signals)
