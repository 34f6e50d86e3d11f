"""The RTL's arithmetic, on 10^6 random and directed cases a format and an operation, bit by bit.

What it is compared with are the definitions in `isa` (by way of the functional simulator), which
other tests compare with ml_dtypes, gfloat, float64 and exact rationals. Special values are sown
sparsely into sums: a single NaN would otherwise hide all that is added to it.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from isa.config import ChipConfig
from isa.formats import ACTIVATIONS, FORMATS
from isa.image import ProgramImage
from isa.program import Op
from sim.functional import FunctionalCore
from sim.fuzz import CHIPS
from sim.rtl import RtlCore
from tests.support import rng

CASES = 1_000_000
ELEMENT_CHIPS = {chip.element: chip for chip in CHIPS.values()}
WEIGHTS = [(e, name) for name, entry in FORMATS.items() for e in entry.arrays]


@pytest.fixture(scope="module")
def rtl():
    """One RTL model for each element type, built when first asked for."""
    cores: dict[str, RtlCore] = {}
    yield lambda element: cores.setdefault(element, RtlCore(ELEMENT_CHIPS[element]))
    for core in cores.values():
        core.close()


def run_both(core: RtlCore, ops: list[Op], sram: NDArray[np.uint8]) -> None:
    """Execute on both machines from the same SRAM; everything that is left must be the same."""
    config = core.config
    image = ProgramImage.from_ops(config, [*ops, Op("halt")])
    functional, memory = FunctionalCore(config), image.memory()
    functional.load(image, memory.copy())
    functional.sram[:] = sram
    functional.acc[:] = 0
    core.sram, core.acc = sram, functional.acc.copy()
    expected = functional.run()
    result = core.run(memory, image.code_base, len(image.code) // 32)
    assert result.counters == expected
    bits = core.acc.view(np.uint32), functional.acc.view(np.uint32)
    wrong = np.argwhere(bits[0] != bits[1])
    assert not len(wrong), f"accumulator {wrong[0]}: {bits[0][tuple(wrong[0])]:#x}"
    different = np.flatnonzero(core.sram != functional.sram)
    assert not len(different), f"{len(different)} bytes of SRAM, the first at {different[0]:#x}"


def codes(name: str, dice: np.random.Generator, count: int) -> NDArray:
    """Codes of a format: spread over its range, some of them special."""
    if name == "bf16":
        values = dice.normal(0, 1, count) * np.exp2(dice.integers(-12, 12, count))
        bits = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        special = np.array([0, 0x8000, 1, 0x807F, 0x7F80, 0xFF80, 0x7FC1, 0x7F7F, 0x80], np.uint16)
    else:
        bits = dice.integers(0, 256, count).astype(np.uint8)
        if name in ("e4m3", "e5m2", "mxfp8", "mxfp8_e5m2"):
            largest = 0x7E if "e5m2" not in name else 0x7B
            bits = np.where(bits & 0x7F > largest, bits & 0x8F, bits).astype(np.uint8)
        special = np.array([0x7F, 0xFF, 0x7C, 0xFC, 0x80, 0, 1, 0x81], np.uint8)
    sown = dice.random(count) < 0.0005
    return np.where(sown, dice.choice(special, count), bits)


def scale_codes(kind: str, dice: np.random.Generator, count: int) -> NDArray:
    """Scales around 1, some of them at the ends of the range or NaN."""
    powers = dice.integers(-6, 6, count)
    if kind == "e8m0":
        usual, special = (127 + powers).astype(np.uint8), np.array([0, 1, 254, 255], np.uint8)
    elif kind == "e4m3":
        usual = (0x38 + dice.integers(-24, 24, count)).astype(np.uint8)
        special = np.array([0, 1, 0x7E, 0x7F, 0xFF, 0x80], np.uint8)
    else:
        usual = codes("bf16", dice, count)
        special = np.array([0, 0x8000, 0x7F80, 0x7FC0, 0x0080, 0x7F7F], np.uint16)
    return np.where(dice.random(count) < 0.002, dice.choice(special, count), usual)


def random_product(config: ChipConfig, af: str, wf: str, dice: np.random.Generator):
    """A matmul that fills SRAM and accumulators well, and its operands in an SRAM."""
    entry, cols, line = FORMATS[wf], config.cols, config.line_bytes
    sram = dice.integers(0, 256, config.sram_bytes).astype(np.uint8)
    half = config.sram_bytes // 2
    k = int(dice.integers(100, 131))
    panels = min(int(dice.integers(4, 9)), half // 2 // (2 * k * max(cols, config.rows)))
    m = min(config.acc_rows // panels, int(dice.integers(30, 60)))
    n = panels * cols - int(dice.integers(cols))
    astride = -(-k // config.rows) * config.array_row_bytes
    a_codes = codes(af, dice, m * astride // config.element_bytes)
    sram[: m * astride] = a_codes.view(np.uint8)
    layout = str(dice.choice(["normal", "transposed"]))
    if layout == "normal":
        unit, stored = entry.bytes_of(cols), k
    else:
        unit, stored = entry.bytes_of(-(-k // config.rows) * config.rows), cols
    scales = -(-k // entry.block) * cols if entry.block else 0
    head = -(-scales * entry.scale_bytes // line) * line
    wpanel = -(-(head + unit * stored) // line) * line
    for panel in range(panels):
        base = half + panel * wpanel
        if scales:
            data = scale_codes(entry.scale, dice, scales).view(np.uint8)
            sram[base : base + data.size] = data
        elements = codes(wf, dice, unit * stored // (2 if wf == "bf16" else 1)).view(np.uint8)
        sram[base + head :][: elements.size] = elements
    fields = {"a": 0, "astride": astride, "w": half, "wstride": unit, "wpanel": wpanel}
    fields |= {"m": m, "k": k, "n": n, "layout": layout, "af": af, "wf": wf}
    return Op("matmul", fields), sram, m * k * n


@pytest.mark.parametrize(("element", "wf"), WEIGHTS, ids=lambda value: value)
def test_products_of_every_storage_format(rtl, element: str, wf: str):
    core, dice, cases = rtl(element), rng(21), 0
    while cases < CASES:
        af = str(dice.choice(ACTIVATIONS[element]))
        op, sram, count = random_product(core.config, af, wf, dice)
        again = Op("matmul", op.fields | {"mode": "accumulate"})
        run_both(core, [op, again] if dice.random() < 0.5 else [op], sram)
        cases += count
    print(f"{element} array, {wf} weights: {cases} products")


def any_floats(dice: np.random.Generator, count: int) -> NDArray[np.float32]:
    """fp32 bits: a third any at all, a third numbers of usual sizes, a third near ties of bf16."""
    bits = dice.integers(0, 1 << 32, count, dtype=np.uint32)
    usual = (dice.normal(0, 1, count) * np.exp2(dice.integers(-20, 20, count))).astype(np.float32)
    ties = usual.view(np.uint32) & np.uint32(0xFFFF0000) | dice.choice(
        np.array([0, 0x7FFF, 0x8000, 0x8001, 0x80000, 0x100000], np.uint32), count
    )
    kind = dice.integers(0, 3, count)
    return np.choose(kind, [bits, usual.view(np.uint32), ties]).astype(np.uint32).view(np.float32)


OPERATIONS = [
    *(("vmov", {"dt": dt}) for dt in ("f32", "bf16", "i8", "e4m3", "e5m2")),
    *((name, {"bt": "f32"}) for name in ("vadd", "vsub", "vmul", "vmax", "vmin")),
    *((name, {}) for name in ("vexp2", "vrecip", "vrsqrt", "vabs")),
]


@pytest.mark.parametrize(("mnemonic", "more"), OPERATIONS, ids=lambda value: str(value))
def test_operations_of_the_vector_unit(rtl, mnemonic: str, more: dict):
    core, dice = rtl("bf16"), rng(22)
    quarter = core.config.sram_bytes // 4
    count = quarter // 4  # elements of fp32
    for _ in range(-(-CASES // count)):
        sram = np.zeros(core.config.sram_bytes, np.uint8)
        sram[quarter : 3 * quarter] = any_floats(dice, 2 * count).view(np.uint8)
        if mnemonic == "vmov":  # values near the 8-bit formats' own ties
            steps = dice.integers(-4096, 4097, count // 2) / 32
            near = np.ldexp(steps, dice.integers(-12, 12, count // 2)).astype(np.float32)
            sram[quarter : quarter + 2 * count] = near.view(np.uint8)
        fields = {"dst": 0, "a": quarter, "b": 2 * quarter, "rows": 1, "cols": count}
        fields |= more
        used = {name: value for name, value in fields.items() if name in Op(mnemonic).spec.uses}
        run_both(core, [Op(mnemonic, used)], sram)
