"""The instruction set as data: everything about encodings derives from this module and from
:mod:`isa.fields`, whose names it hands on."""

from isa.fields import (
    ENGINE_SHIFT as ENGINE_SHIFT,
    HEADER_BITS as HEADER_BITS,
    INSTRUCTION_BYTES as INSTRUCTION_BYTES,
    OPCODE_BITS as OPCODE_BITS,
    REGISTER_BITS as REGISTER_BITS,
    REGISTERS as REGISTERS,
    SEMAPHORE_BITS as SEMAPHORE_BITS,
    SEMAPHORE_MAX as SEMAPHORE_MAX,
    SEMAPHORES as SEMAPHORES,
    SIGNAL_BITS as SIGNAL_BITS,
    SIGNALS as SIGNALS,
    WAIT_BITS as WAIT_BITS,
    WAIT_COUNT_BITS as WAIT_COUNT_BITS,
    WAITS as WAITS,
    Choice as Choice,
    Engine as Engine,
    Field as Field,
    Format as Format,
    Instruction as Instruction,
    Operand as Operand,
    Register as Register,
    Slot as Slot,
    signal_offset as signal_offset,
    wait_offset as wait_offset,
)


def _operand(name: str, bits: int, doc: str, default: int = 0) -> Operand:
    return Operand(name, bits, doc, default)


# Storage formats of weights, in the order of their encodings; :mod:`isa.formats` defines them.
WEIGHT_FORMATS = (
    "bf16",
    "e4m3",
    "e5m2",
    "i8",
    "i4",
    "mxfp8",
    "mxfp8_e5m2",
    "mxfp4",
    "nvfp4",
)
SCALAR = Format(
    "scalar",
    (
        Register("rd", "destination register"),
        Register("rs", "source register"),
        _operand("x", 32, "second source; for ld and st the base in HBM, in atoms of 64 bytes"),
        _operand("y", 32, "branch target (instruction index); for ld and st the offset in bytes"),
    ),
)
DMA = Format(
    "dma",
    (
        _operand("hbm", 32, "first row in HBM, in atoms of 64 bytes"),
        _operand("hstride", 24, "distance of rows in HBM, in atoms of 64 bytes"),
        _operand("sram", 24, "first row in SRAM, byte address, a multiple of the line"),
        _operand("sstride", 20, "distance of rows in SRAM in bytes, a multiple of the line"),
        _operand("rows", 16, "number of rows, of each plane"),
        _operand("bytes", 20, "length of a row in bytes, any number from 1 on"),
        _operand("offset", 6, "byte in the atom at which the rows of HBM begin"),
        _operand("planes", 13, "number of planes", default=1),
        _operand(
            "hplane",
            24,
            "distance of planes in HBM, in atoms; of gather the list of row numbers, SRAM byte "
            "address, a multiple of the line",
        ),
        _operand("splane", 20, "distance of planes in SRAM in bytes, a multiple of the line"),
    ),
)
MATRIX = Format(
    "matrix",
    (
        _operand("acc", 16, "first accumulator row of the result"),
        _operand("a", 24, "activations: byte address of row 0"),
        _operand("astride", 20, "distance of activation rows in bytes"),
        _operand("w", 24, "weights: byte address of panel 0"),
        _operand("wstride", 20, "distance of stored weight rows in bytes"),
        _operand("wpanel", 24, "distance of panels (C columns of the result) in bytes"),
        _operand("m", 16, "activation rows M"),
        _operand("k", 16, "reduction length K"),
        _operand("n", 16, "result columns N"),
        Choice("mode", ("overwrite", "accumulate"), "what happens to the accumulators"),
        Choice("layout", ("normal", "transposed"), "stored weight rows run along N, or along K"),
        Choice("af", ("bf16", "e4m3", "e5m2", "i8"), "storage format of the activations"),
        Choice("wf", WEIGHT_FORMATS, "storage format of the weights"),
    ),
)
VECTOR = Format(
    "vector",
    (
        _operand("dst", 24, "result: byte address of row 0"),
        _operand("dstride", 20, "distance of result rows in bytes"),
        _operand("a", 24, "first source: byte address of row 0; for at=acc the accumulator row"),
        _operand(
            "astride", 20, "distance of rows in bytes; for at=acc, of C-column panels in acc rows"
        ),
        _operand("b", 32, "second source: byte address of row 0, or the fp32 value of bt=scalar"),
        _operand("bstride", 20, "distance of rows of b in bytes (0: one row for all)"),
        _operand("rep", 16, "rows of a for each row of b (vrot: shift; masks: limit of row 0)"),
        _operand("rows", 16, "number of rows"),
        _operand("cols", 20, "elements in a row"),
        Choice("dt", ("f32", "bf16", "i8", "e4m3", "e5m2"), "type of the result"),
        Choice("at", ("f32", "bf16", "acc", "i8", "e4m3", "e5m2"), "type of the first source"),
        Choice("bt", ("f32", "bf16", "col", "scalar"), "second source; col: lane 0 of an fp32 row"),
    ),
)
FORMATS = (SCALAR, DMA, MATRIX, VECTOR)

_ENGINE_FORMAT = {
    Engine.SEQUENCER: SCALAR,
    Engine.LOAD: DMA,
    Engine.STORE: DMA,
    Engine.MATRIX: MATRIX,
    Engine.VECTOR: VECTOR,
}


def _define(opcode: int, mnemonic: str, uses: str, doc: str) -> Instruction:
    engine = Engine(opcode >> ENGINE_SHIFT)
    fields = _ENGINE_FORMAT[engine]
    names = tuple(uses.split())
    for name in names:
        if name not in {field.name for field in fields.fields}:
            raise ValueError(f"{mnemonic}: {name!r} is no field of format {fields.name}")
    return Instruction(mnemonic, opcode, engine, fields, names, doc)


_ALU = "rd rs x"
_BRANCH = "rs x y"
_DMA = "hbm hstride sram sstride rows bytes offset planes hplane splane"
_UNARY = "dst dstride a astride rows cols dt at"
_BINARY = "dst dstride a astride b bstride rep rows cols dt at bt"

INSTRUCTIONS = (
    # Opcode 0 is illegal, so that running into zeroed memory traps.
    _define(0x01, "halt", "", "Wait until all engines are idle, then stop."),
    _define(0x02, "sync", "", "Wait until all queues are empty and all engines are idle."),
    _define(0x03, "add", _ALU, "rd = rs + x (mod 2^32)"),
    _define(0x04, "sub", _ALU, "rd = rs - x (mod 2^32)"),
    _define(0x05, "mul", _ALU, "rd = rs * x (low 32 bits)"),
    _define(0x06, "and", _ALU, "rd = rs & x"),
    _define(0x07, "or", _ALU, "rd = rs | x"),
    _define(0x08, "shl", _ALU, "rd = rs << (x mod 32)"),
    _define(0x09, "shr", _ALU, "rd = rs >> (x mod 32), zeros enter"),
    _define(0x0A, "min", _ALU, "rd = min(rs, x), unsigned"),
    _define(0x0B, "max", _ALU, "rd = max(rs, x), unsigned"),
    _define(0x0C, "beq", _BRANCH, "go to y if rs = x"),
    _define(0x0D, "blt", _BRANCH, "go to y if rs < x, unsigned"),
    _define(0x0E, "ld", "rd x y", "rd = 32-bit word in HBM at 64 x + y (y a multiple of 4)"),
    _define(0x0F, "st", "rs x y", "32-bit word in HBM at 64 x + y = rs (y a multiple of 4)"),
    _define(0x20, "lnop", "", "Load engine: nothing but the semaphores."),
    _define(
        0x21,
        "load",
        _DMA,
        "HBM to SRAM: row r of plane p from byte 64 (hbm + p hplane + r hstride) + offset to "
        "sram + p splane + r sstride. What is left of a row's last lanes bytes in SRAM becomes 0.",
    ),
    _define(
        0x22,
        "gather",
        "hbm hstride sram sstride rows bytes offset hplane",
        "As load, of one plane, whose row r begins at byte 64 (hbm + index[r] hstride) + offset; "
        "index[r] is the unsigned 32-bit integer at hplane + 4 r in SRAM. A row outside the memory "
        "is a bus error.",
    ),
    _define(0x40, "snop", "", "Store engine: nothing but the semaphores."),
    _define(
        0x41,
        "store",
        _DMA,
        "SRAM to HBM, the reverse of load; writes just these bytes; done when memory has "
        "acknowledged.",
    ),
    _define(0x60, "mnop", "", "Matrix unit: nothing but the semaphores."),
    _define(
        0x61,
        "matmul",
        "acc a astride w wstride wpanel m k n mode layout af wf",
        "acc[panel j, row i] (+)= A[i, :] W[:, j C ...], i < M; panel j's row i is accumulator row "
        "acc + j M + i; columns from N on are computed with weights of +0. Panel j begins at "
        "w + j wpanel: with the scales if the format has blocks of B along K (ceil(K / B) rows of "
        "C, filled up to a whole line), then the stored rows, wstride apart: W's rows, or its "
        "columns where the layout is transposed. See numbers.matmul for the order of additions.",
    ),
    _define(0x80, "vnop", "", "Vector unit: nothing but the semaphores."),
    _define(0x81, "vmov", _UNARY, "dst = a, converted"),
    _define(0x82, "vadd", _BINARY, "dst = a + b"),
    _define(0x83, "vsub", _BINARY, "dst = a - b"),
    _define(0x84, "vmul", _BINARY, "dst = a * b"),
    _define(0x85, "vmax", _BINARY, "dst = max(a, b)"),
    _define(0x86, "vmin", _BINARY, "dst = min(a, b)"),
    _define(0x87, "vexp2", _UNARY, "dst = 2^a"),
    _define(0x88, "vrecip", _UNARY, "dst = 1 / a"),
    _define(0x89, "vrsqrt", _UNARY, "dst = 1 / sqrt(a)"),
    _define(0x8A, "vsum", _UNARY, "dst[r] = sum of row r, in lane 0; other lanes 0"),
    _define(0x8B, "vrmax", _UNARY, "dst[r] = maximum of row r, in lane 0; other lanes 0"),
    _define(
        0x8C,
        "vmask",
        "dst dstride a astride b rep rows cols dt at",
        "dst[r, c] = a[r, c] if c < rep + r else b (an fp32 value): causal masking",
    ),
    _define(
        0x8D,
        "vrot",
        "dst dstride a astride rep rows cols dt at",
        "dst[r, c] = a[r, (c + rep) mod cols]; cols at most lanes, or cols and rep multiples of "
        "lanes; rep < cols",
    ),
    _define(
        0x8E,
        "vmaskl",
        "dst dstride a astride b rep rows cols dt at",
        "dst[r, c] = a[r, c] if c >= rep + r else b (an fp32 value), rep being signed (16 bits, "
        "two's complement): the far end of a sliding window",
    ),
    _define(0x8F, "vabs", _UNARY, "dst = |a|"),
    _define(
        0x90,
        "vargmax",
        _UNARY,
        "dst[r] = index of the first maximum of row r (-0 equals +0; a NaN is above all), an "
        "unsigned 32-bit integer in lane 0; other lanes 0; dt must be f32",
    ),
)
BY_MNEMONIC = {instruction.mnemonic: instruction for instruction in INSTRUCTIONS}
BY_OPCODE = {instruction.opcode: instruction for instruction in INSTRUCTIONS}
if len(BY_OPCODE) != len(INSTRUCTIONS) or len(BY_MNEMONIC) != len(INSTRUCTIONS):
    raise ValueError("instruction table: opcodes and mnemonics must be unique")
