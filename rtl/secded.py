"""SECDED words in hardware: `isa.secded` as wires."""

from amaranth.hdl import Cat, Module, Signal, Value

from isa.secded import CHECK_BITS, COLUMNS, WORD_BITS, masks


def check_bits(word: Value) -> Value:
    """The 8 check bits of a 64-bit word."""
    return Cat((word & mask).xor() for mask in masks())


def all_check_bits(data: Value) -> Value:
    """Check bits of data that are whole words, the first word's lowest."""
    return Cat(check_bits(data.word_select(i, WORD_BITS)) for i in range(len(data) // WORD_BITS))


def decode(m: Module, name: str, word: Value, check: Value) -> tuple[Signal, Signal, Signal]:
    """The word, corrected; whether a bit of word or check was wrong; whether two were (the word is
    then as it came)."""
    syndrome, flips = Signal(CHECK_BITS, name=f"{name}_syndrome"), Signal(WORD_BITS)
    data, corrected = Signal(WORD_BITS, name=f"{name}_data"), Signal(name=f"{name}_corrected")
    failed = Signal(name=f"{name}_failed")
    m.d.comb += [syndrome.eq(check_bits(word) ^ check), data.eq(word ^ flips)]
    with m.If(syndrome.any()):  # rare: not worth simulating always
        alone = Cat(syndrome == 1 << bit for bit in range(CHECK_BITS)).any()
        m.d.comb += [
            flips.eq(Cat(syndrome == column for column in COLUMNS)),
            corrected.eq(flips.any() | alone),
            failed.eq(~corrected),
        ]
    return data, corrected, failed
