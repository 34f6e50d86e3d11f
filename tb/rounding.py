"""How the exact sum of two fp32 numbers is rounded, for coverage points."""

SIGNS = ("same", "different")  # of the terms
CASES = ("exact", "below", "tie to even below", "tie to even above", "above")


def rounding(x: int, y: int) -> tuple[str, str] | None:
    """(signs, case) of two fp32 codes; None where a term is zero, subnormal or not finite."""
    exponents = [code >> 23 & 0xFF for code in (x, y)]
    if not all(0 < exponent < 0xFF for exponent in exponents):
        return None
    terms = []
    for code, exponent in zip((x, y), exponents, strict=True):
        significand = (code & 0x7FFFFF | 1 << 23) << exponent - min(exponents)
        terms.append(-significand if code >> 31 else significand)
    total = abs(sum(terms))
    signs = SIGNS[(x ^ y) >> 31]
    places = total.bit_length() - 24
    if places <= 0:
        return signs, "exact"
    rest, half = total & (1 << places) - 1, 1 << places - 1
    if rest in (0, half):
        odd = total >> places & 1
        return signs, "exact" if rest == 0 else "tie to even above" if odd else "tie to even below"
    return signs, "below" if rest < half else "above"
