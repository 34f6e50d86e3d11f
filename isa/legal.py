"""What an instruction's operands must satisfy on a chip: the rules behind most traps.

The rules are written once, as arithmetic that both Python's integers and hardware signals do: the
functional simulator evaluates them for a command, the RTL builds its checker from the same calls.
The order of a list is the order of the instruction's fields inside each cause (`isa.traps`).
"""

from typing import Any, NamedTuple, Protocol

from isa.config import F32_BYTES, HBM_ATOM_BYTES, ChipConfig
from isa.formats import ACTIVATIONS, FORMATS
from isa.table import BY_MNEMONIC, DMA, MATRIX, VECTOR, Engine, Format
from isa.traps import Cause, Fault

Number = Any  # an int, or a hardware value: what +, *, >>, &, |, <, == are for
BINARY = ("vadd", "vsub", "vmul", "vmax", "vmin")
REDUCTIONS = ("vsum", "vrmax", "vargmax")
INDEX_BYTES = 4  # of a row number in the list of `gather`
_SCALAR_WORD_BYTES = 4


class Rule(NamedTuple):
    """``broken`` (a bool or one bit) says that the instruction has the fault.

    ``have``, ``wanted``: for messages; of MISALIGNED the value and its unit, of OUT_OF_RANGE the
    end and its limit.
    """

    cause: Cause
    field: str
    broken: Number
    have: Number = None
    wanted: Number = None


class Operands(Protocol):
    """A command's fields as numbers, in Python or in hardware."""

    def value(self, name: str) -> Number:
        """An operand."""

    def chosen(self, name: str, *values: str) -> Number:
        """Whether the choice ``name`` is one of ``values``."""

    def opcode_in(self, *mnemonics: str) -> Number:
        """Whether the instruction is one of these."""

    def select(self, condition: Number, one: Number, other: Number) -> Number:
        """``one`` if ``condition`` else ``other``."""

    def less_one(self, value: Number) -> Number:
        """``value`` - 1, of a value that is at least 1 (anything for 0)."""

    def last_row_of_b(self) -> Number:
        """(rows - 1) // max(rep, 1) of a vector instruction."""

    def memory_atoms(self) -> Number:
        """Size of the program's memory in atoms of 64 bytes."""


def rules(config: ChipConfig, engine: Engine, f: Operands) -> list[Rule]:
    """All rules of an engine's instructions that have operands, each for all its mnemonics."""
    make = {Engine.MATRIX: _matrix, Engine.VECTOR: _vector, Engine.SEQUENCER: _scalar}
    found = make[engine](config, f) if engine in make else _dma(config, f, engine)
    order = list({Engine.MATRIX: MATRIX, Engine.VECTOR: VECTOR}.get(engine, DMA).slots)
    if engine == Engine.SEQUENCER:
        order = ["x", "y"]
    return sorted(found, key=lambda rule: (rule.cause, order.index(rule.field)))


def _misaligned(f: Operands, unit: Number, *names: str) -> list[Rule]:
    """``unit`` is a power of two, of Python or of hardware."""
    values = {name: f.value(name) for name in names}
    return [
        Rule(Cause.MISALIGNED, name, (value & f.less_one(unit)) != 0, value, unit)
        for name, value in values.items()
    ]


def _beyond(field: str, end: Number, limit: Number) -> Rule:
    return Rule(Cause.OUT_OF_RANGE, field, end > limit, end, limit)


def _ceil(value: Number, divisor: int) -> Number:
    """Division by a power of two, rounded up."""
    return (value + (divisor - 1)) >> (divisor.bit_length() - 1)


def _scalar(config: ChipConfig, f: Operands) -> list[Rule]:
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
        _beyond("x", address + _SCALAR_WORD_BYTES, limit),
    ]


def _dma(config: ChipConfig, f: Operands, engine: Engine) -> list[Rule]:
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
        *_misaligned(f, config.line_bytes, "sram", "sstride", "splane"),
        Rule(Cause.OVERLAP, stride_name, (rows > 1) & (stride < size)),
        Rule(Cause.OVERLAP, plane_name, (planes > 1) & (plane < last_row + size)),
        _beyond("hbm", outside, f.memory_atoms() * HBM_ATOM_BYTES),
        _beyond("sram", inside, config.sram_bytes),
        *(_list(config, f, gather, inside) if engine == Engine.LOAD else []),
    ]


def _list(config: ChipConfig, f: Operands, gather: Number, inside: Number) -> list[Rule]:
    """What `gather` wants of its list of row numbers, which is read while rows are written: all of
    it lies in front of the first of them or behind the last, which ends at ``inside``."""
    start = f.value("hplane")
    end = start + f.value("rows") * INDEX_BYTES
    rules = [
        *_misaligned(f, config.line_bytes, "hplane"),
        Rule(Cause.OVERLAP, "hplane", (start < inside) & (f.value("sram") < end)),
        _beyond("hplane", end, config.sram_bytes),
    ]
    return [rule._replace(broken=gather & rule.broken) for rule in rules]


def _matrix(config: ChipConfig, f: Operands) -> list[Rule]:
    m, k, n = f.value("m"), f.value("k"), f.value("n")
    tiles, panels = _ceil(k, config.rows), _ceil(n, config.cols)
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
        *_misaligned(f, config.array_row_bytes, "a", "astride"),
        *_misaligned(f, start, "w", "wpanel"),
        *_misaligned(f, unit, "wstride"),
        _beyond("acc", f.value("acc") + m * panels, config.acc_rows),
        _beyond("a", a_end, config.sram_bytes),
        _beyond("w", _weights_end(config, f, tiles, panels), config.sram_bytes),
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
            size = _ceil(f.value("k"), entry.block) * (config.cols * entry.scale_bytes)
            lines = _ceil(size, config.line_bytes) * config.line_bytes
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


def _vector(config: ChipConfig, f: Operands) -> list[Rule]:
    rows, cols, rep = f.value("rows"), f.value("cols"), f.value("rep")
    vectors, more = _ceil(cols, config.lanes), f.less_one(rows)
    acc, rotate = f.chosen("at", "acc"), f.opcode_in("vrot")
    reads_b = f.opcode_in(*BINARY) & (f.chosen("bt", "scalar") == 0)
    dst_unit, a_unit = _vector_bytes(config, f, "dt"), _vector_bytes(config, f, "at")
    b_unit = _vector_bytes(config, f, "bt")
    results = f.select(f.opcode_in(*REDUCTIONS), 1, vectors) * dst_unit
    b_vectors = f.select(f.chosen("bt", "col"), 1, vectors)
    whole = rotate & (cols > config.lanes)
    panels = _ceil(cols, config.cols)
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
        *_misaligned(f, dst_unit, "dst", "dstride"),
        *_misaligned(f, in_memory, "a", "astride"),
        *(
            rule._replace(broken=reads_b & rule.broken)
            for rule in _misaligned(f, b_unit, "b", "bstride")
        ),
        *(
            rule._replace(broken=whole & rule.broken)
            for rule in _misaligned(f, config.lanes, "rep", "cols")
        ),
        Rule(Cause.OVERLAP, "dst", whole & (acc == 0) & (f.value("dst") == f.value("a"))),
        Rule(Cause.OVERLAP, "dstride", (rows > 1) & (f.value("dstride") < results)),
        _beyond("dst", dst_end, config.sram_bytes),
        _beyond(
            "a", f.select(acc, acc_end, a_end), f.select(acc, config.acc_rows, config.sram_bytes)
        ),
        _beyond("b", f.select(reads_b, b_end, 0), config.sram_bytes),
    ]


def _vector_bytes(config: ChipConfig, f: Operands, name: str) -> Number:
    """Bytes of a vector of the type that the choice ``name`` says."""
    narrow = f.chosen(name, "i8", "e4m3", "e5m2") if name != "bt" else 0
    size = f.select(f.chosen(name, "bf16"), config.bf16_vector_bytes, F32_BYTES * config.lanes)
    return f.select(narrow, config.byte_vector_bytes, size)


class _Integers:
    """Operands of a resolved command."""

    def __init__(self, fields: Format, mnemonic: str, values: tuple, memory_atoms: int) -> None:
        self._values = dict(zip(fields.slots, values, strict=True))
        self._mnemonic, self._atoms = mnemonic, memory_atoms

    def value(self, name: str) -> int:
        return self._values[name]

    def chosen(self, name: str, *values: str) -> bool:
        return self._values[name] in values

    def opcode_in(self, *mnemonics: str) -> bool:
        return self._mnemonic in mnemonics

    def select(self, condition: Number, one: Number, other: Number) -> Number:
        return one if condition else other

    def less_one(self, value: int) -> int:
        return value - 1

    def last_row_of_b(self) -> int:
        return (self._values["rows"] - 1) // max(self._values["rep"], 1)

    def memory_atoms(self) -> int:
        return self._atoms


class Finding(NamedTuple):
    """The first fault of a command, and the numbers behind it in words."""

    fault: Fault
    detail: str


def fault_of(config: ChipConfig, mnemonic: str, values: tuple, memory_atoms: int) -> Finding | None:
    """The first fault of a resolved engine command; None if it is legal.

    ``values``: one for each field of the format, choices by name, as in `sim.scalar.Command`;
    of `ld` and `st` the base in atoms and the offset in bytes (fields ``x``, ``y``).
    """
    spec = BY_MNEMONIC[mnemonic]
    if not spec.uses:
        return None
    if spec.engine == Engine.SEQUENCER:
        values = (0, 0, *values)
    operands = _Integers(spec.format, mnemonic, values, memory_atoms)
    for rule in rules(config, spec.engine, operands):
        if rule.broken:
            fault = Fault(rule.cause, list(spec.format.slots).index(rule.field))
            return Finding(fault, _detail(rule, values[fault.where]))
    return None


def _detail(rule: Rule, value: int | str) -> str:
    if rule.cause == Cause.MISALIGNED:
        return f" to {rule.wanted}, not 0x{rule.have:x}"
    if rule.cause == Cause.OUT_OF_RANGE:
        return f", not at 0x{rule.have:x} of 0x{rule.wanted:x}"
    return f", not {value}"
