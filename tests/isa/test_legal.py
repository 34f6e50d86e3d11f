"""The rules of legality against an enumeration of every access that an instruction makes."""

import itertools
import random

import pytest

from isa.config import ChipConfig, load_config
from isa.formats import ACTIVATIONS, FORMATS
from isa.legal import fault_of
from isa.program import Op
from isa.table import BY_MNEMONIC, Choice
from isa.traps import Cause, Fault, explain

TINY = load_config("tiny")
CHIPS = [
    TINY.replace(sram_bytes=1 << 13, acc_rows=64),
    TINY.replace(sram_bytes=1 << 13, acc_rows=64, rows=16, cols=4, lanes=2, element="fp8"),
    TINY.replace(sram_bytes=1 << 13, acc_rows=64, rows=4, cols=16, lanes=4, element="int8"),
    TINY.replace(sram_bytes=1 << 13, acc_rows=64, rows=32, cols=8, lanes=4, line_bytes=64),
]
ATOMS = 100
BYTES = {"f32": 4, "bf16": 2, "i8": 1, "e4m3": 1, "e5m2": 1}


class Accesses:
    """Collects what an instruction touches; ``legal`` says whether all of it exists."""

    def __init__(self, config: ChipConfig) -> None:
        self.limits = {"sram": config.sram_bytes, "acc": config.acc_rows, "hbm": 64 * ATOMS}
        self.legal = True

    def touch(self, space: str, start: int, size: int, unit: int = 1) -> None:
        self.legal &= start % unit == 0 and start + size <= self.limits[space]


def matmul(config: ChipConfig, f: dict) -> bool:
    entry, seen = FORMATS[f["wf"]], Accesses(config)
    if config.element not in entry.arrays or f["af"] not in ACTIVATIONS[config.element]:
        return False
    if not (f["m"] and f["k"] and f["n"]):
        return False
    rows, cols = config.rows, config.cols
    panels, tiles = range(-(-f["n"] // cols)), range(-(-f["k"] // rows))
    a_unit = rows * (2 if f["af"] == "bf16" else 1)
    for i in range(f["m"]):
        for t in tiles:
            seen.touch("sram", f["a"] + i * f["astride"] + t * a_unit, a_unit, a_unit)
        for j in panels:
            seen.touch("acc", f["acc"] + j * f["m"] + i, 1)
    seen.legal &= f["astride"] % a_unit == 0
    for j in panels:
        base = f["w"] + j * f["wpanel"]
        if entry.block:
            size = cols * entry.scale_bytes
            count = -(-f["k"] // entry.block)
            for g in range(count):
                seen.touch("sram", base + g * size, size, size)
            seen.legal &= base % config.line_bytes == 0
            base += -(-count * size // config.line_bytes) * config.line_bytes
        if f["layout"] == "normal":
            unit = cols * entry.bits // 8
            for k in range(f["k"]):
                seen.touch("sram", base + k * f["wstride"], unit, unit)
        else:
            unit = rows * entry.bits // 8
            for n in range(min(cols, f["n"] - j * cols)):
                for t in tiles:
                    seen.touch("sram", base + n * f["wstride"] + t * unit, unit, unit)
    panel_unit = config.line_bytes if entry.block else unit
    return seen.legal and f["wstride"] % unit == 0 and f["wpanel"] % panel_unit == 0


def vector(config: ChipConfig, mnemonic: str, f: dict) -> bool:
    seen, lanes = Accesses(config), config.lanes
    if not (f["rows"] and f["cols"]):
        return False
    vectors = -(-f["cols"] // lanes)
    binary = mnemonic in ("vadd", "vsub", "vmul", "vmax", "vmin")
    results = 1 if mnemonic in ("vsum", "vrmax", "vargmax") else vectors
    unit = lanes * BYTES[f["dt"]]
    seen.legal &= f["dstride"] % unit == 0
    written = [f["dst"] + r * f["dstride"] for r in range(f["rows"])]
    seen.legal &= all(b - a >= results * unit for a, b in itertools.pairwise(written))
    for start in written:
        seen.touch("sram", start, results * unit, unit)
    for r in range(f["rows"]):
        if f["at"] == "acc":
            for panel in range(-(-f["cols"] // config.cols)):
                seen.touch("acc", f["a"] + r + panel * f["astride"], 1)
        else:
            unit = lanes * BYTES[f["at"]]
            seen.touch("sram", f["a"] + r * f["astride"], vectors * unit, unit)
            seen.legal &= f["astride"] % unit == 0
        if binary and f["bt"] != "scalar":
            unit = lanes * (2 if f["bt"] == "bf16" else 4)
            row = r // max(1, f["rep"]) * f["bstride"]
            width = unit * (1 if f["bt"] == "col" else vectors)
            seen.touch("sram", f["b"] + row, width, unit)
            seen.legal &= f["bstride"] % unit == 0
    if mnemonic == "vargmax":
        seen.legal &= f["dt"] == "f32"
    if mnemonic == "vrot":
        seen.legal &= f["rep"] < f["cols"]
        if f["cols"] > lanes:
            seen.legal &= f["cols"] % lanes == 0 and f["rep"] % lanes == 0
            seen.legal &= f["at"] == "acc" or f["dst"] != f["a"]
    return seen.legal


def dma(config: ChipConfig, mnemonic: str, f: dict) -> bool:
    """What is written goes up from row to row and plane to plane, without a step back."""
    seen, line, end = Accesses(config), config.line_bytes, 0
    gather, filled = mnemonic == "gather", -(-f["bytes"] // config.lanes) * config.lanes
    planes = range(1 if gather else f["planes"])
    for p, r in itertools.product(planes, range(f["rows"])):
        sram = f["sram"] + p * f["splane"] + r * f["sstride"]
        hbm = 64 * (f["hbm"] + p * f["hplane"] + r * f["hstride"]) + f["offset"]
        seen.touch("sram", sram, f["bytes"], line)
        if not gather or r == 0:  # row number 0
            seen.touch("hbm", hbm, f["bytes"])
        start, size = (hbm, f["bytes"]) if mnemonic == "store" else (sram, filled)
        seen.legal &= start >= end
        end = start + size
    if gather:
        first, size = f["hplane"], 4 * f["rows"]
        seen.touch("sram", first, size, line)
        seen.legal &= first >= end or first + size <= f["sram"]
    aligned = f["sstride"] % line == 0 and f["splane"] % line == 0
    return bool(seen.legal and aligned and len(planes) and f["rows"] and f["bytes"])


def random_fields(config: ChipConfig, mnemonic: str, dice: random.Random) -> dict:
    """Fields that are legal about half of the time."""

    def place(size: int) -> int:
        return dice.randrange(size) // (unit := dice.choice([8, 32, 64, 64])) * unit

    small = {"m": 9, "k": 70, "n": 40, "rows": 7, "cols": 50, "rep": 5, "hbm": ATOMS, "hstride": 9}
    small |= {"offset": 64, "planes": 4}
    if mnemonic != "gather":
        small["hplane"] = 40
    fields = {}
    for name in BY_MNEMONIC[mnemonic].uses:
        described = BY_MNEMONIC[mnemonic].format.slots[name].field
        if isinstance(described, Choice):
            fields[name] = dice.choice(described.values)
        elif name in small:
            fields[name] = dice.randrange(small[name])
        elif name == "acc" or (name == "a" and dice.random() < 0.3):
            fields[name] = dice.randrange(config.acc_rows)
        elif name == "bytes":
            fields[name] = dice.choice([0, 1, 31, 32, 33, 64, dice.randrange(300)])
        elif "stride" in name or name in ("wpanel", "splane"):
            fields[name] = dice.choice([0, 8, 16, 32, 32, 64, 96, 128, 256, 512, 1024])
        else:
            fields[name] = place(config.sram_bytes)
    return fields


@pytest.mark.parametrize("config", CHIPS, ids=lambda c: f"{c.rows}x{c.cols}{c.element}")
def test_rules_are_the_enumeration(config: ChipConfig):
    dice, legal = random.Random(7), {}
    mnemonics = [name for name, entry in BY_MNEMONIC.items() if entry.engine and entry.uses]
    for mnemonic in mnemonics:
        for _ in range(1500 if mnemonic == "matmul" else 900):
            fields = random_fields(config, mnemonic, dice)
            if mnemonic == "matmul" and dice.random() < 0.7:  # formats that the array takes
                taken = [name for name, e in FORMATS.items() if config.element in e.arrays]
                fields |= {"af": dice.choice(ACTIVATIONS[config.element])}
                fields |= {"wf": dice.choice(taken)}
            op = Op(mnemonic, fields)
            slots = op.spec.format.slots
            values = tuple(op.get(name) if name in op.spec.uses else 0 for name in slots)
            named = dict(zip(op.spec.format.slots, values, strict=True))
            if mnemonic == "matmul":
                wanted = matmul(config, named)
            else:
                check = dma if mnemonic in ("load", "gather", "store") else vector
                wanted = check(config, mnemonic, named)
            found = fault_of(config, mnemonic, values, ATOMS)
            assert (found is None) == wanted, (mnemonic, fields, found)
            legal.setdefault(mnemonic, []).append(wanted)
    for mnemonic, results in legal.items():
        assert 0.02 < sum(results) / len(results) < 0.98, mnemonic  # both kinds occur


@pytest.mark.parametrize("wf", FORMATS)
@pytest.mark.parametrize("layout", ["normal", "transposed"])
def test_weights_may_end_with_the_memory(wf: str, layout: str):
    """The last place that the enumeration allows is the last one that the rules allow."""
    dice, config = random.Random(8), CHIPS[0]
    for _ in range(12):
        fields = {"af": "bf16", "wf": wf, "layout": layout, "m": 1, "astride": 16}
        fields |= {"k": dice.randint(1, 200), "n": dice.randint(1, 20)}
        fields |= {"wstride": 16 * dice.randint(1, 3), "wpanel": 32 * dice.randint(1, 40)}
        last = max(
            w
            for w in range(0, config.sram_bytes, 32)
            if w == 0 or matmul(config, fields | {"a": 0, "acc": 0, "w": w})
        )
        for w in (last, last + 32):
            op = Op("matmul", fields | {"w": w})
            values = tuple(op.get(name) for name in op.spec.format.slots)
            wanted = matmul(config, fields | {"a": 0, "acc": 0, "w": w})
            assert (fault_of(config, "matmul", values, 1) is None) == wanted, (fields, w)


def test_scalar_accesses():
    assert fault_of(TINY, "ld", (3, 2), 9).fault == Fault(Cause.MISALIGNED, 3)
    assert fault_of(TINY, "st", (8, 60), 9) is None
    assert fault_of(TINY, "st", (8, 64), 9).fault == Fault(Cause.OUT_OF_RANGE, 2)
    assert fault_of(TINY, "ld", (0, 0xFFFFFFFC), 9).fault == Fault(Cause.OUT_OF_RANGE, 2)
    assert fault_of(TINY, "halt", (), 0) is None


@pytest.mark.parametrize(
    ("mnemonic", "change", "fault"),
    [
        ("load", {}, None),
        ("load", {"planes": 0, "splane": 8}, Fault(Cause.BAD_SIZE, 7)),
        ("load", {"splane": 8}, Fault(Cause.MISALIGNED, 9)),
        ("load", {"hplane": 8}, None),
        ("load", {"bytes": 65}, Fault(Cause.OVERLAP, 3)),
        ("load", {"splane": 64}, Fault(Cause.OVERLAP, 9)),
        ("store", {"hstride": 0}, Fault(Cause.OVERLAP, 1)),
        ("store", {"hplane": 1}, Fault(Cause.OVERLAP, 8)),
        ("store", {"splane": 0, "sstride": 0}, None),
        ("store", {"offset": 63, "hbm": 94}, None),
        ("store", {"offset": 63, "hbm": 94, "bytes": 2}, Fault(Cause.OUT_OF_RANGE, 0)),
        ("load", {"sram": 0x1F20}, None),
        ("load", {"sram": 0x1F40}, Fault(Cause.OUT_OF_RANGE, 2)),
        ("gather", {}, None),
        ("gather", {"hplane": 0x110}, Fault(Cause.MISALIGNED, 8)),
        ("gather", {"hplane": 0x1FE0, "rows": 9}, Fault(Cause.OUT_OF_RANGE, 8)),
        ("gather", {"hplane": 0x40}, Fault(Cause.OVERLAP, 8)),
        ("gather", {"hplane": 0x60}, None),
        ("gather", {"sram": 32, "hplane": 0}, None),
        ("gather", {"sram": 32, "hplane": 0, "rows": 9}, Fault(Cause.OVERLAP, 8)),
        ("gather", {"hbm": 99, "offset": 63}, None),
        ("gather", {"hbm": 100}, Fault(Cause.OUT_OF_RANGE, 0)),
        ("gather", {"hstride": (1 << 24) - 1}, None),  # the memory finds that
    ],
)
def test_dma_at_its_borders(mnemonic, change, fault):
    fields = {"hstride": 1, "sstride": 64, "rows": 2, "bytes": 1}
    fields |= {"hplane": 4, "splane": 128, "planes": 2} if mnemonic != "gather" else {"hplane": 96}
    op = Op(mnemonic, fields | change)
    values = tuple(op.get(name) if name in op.spec.uses else 0 for name in op.spec.format.slots)
    found = fault_of(CHIPS[0], mnemonic, values, ATOMS)
    assert (found and found.fault) == fault


def test_the_first_cause_counts_and_says_why():
    op = Op("load", {"rows": 0, "bytes": 0, "sram": 8})
    values = tuple(op.get(name) for name in op.spec.format.slots)
    found = fault_of(TINY, "load", values, 9)
    assert found.fault == Fault(Cause.BAD_SIZE, 4)
    assert found.detail == ", not 0"
    word = bytes([op.spec.opcode]) + bytes(31)
    assert explain(found.fault, 12, word) == "instruction 12 (load): rows must be a legal size"
    assert (
        explain(Fault(Cause.ILLEGAL_OPCODE), 3, bytes(32)) == "instruction 3: illegal opcode 0x00"
    )
    ended = explain(Fault(Cause.END_OF_PROGRAM), 3, None)
    assert ended == "instruction 3: behind the end of the program"
