"""What the vector unit's bench must have seen: types, roundings, values, shapes, refusals."""

import numpy as np

from isa.config import ChipConfig
from isa.table import VECTOR, Choice
from tb.coverage import Coverage
from tb.vector_reference import BINARY, MASKS, MNEMONICS, REDUCTIONS, SIZES, Command

ROUNDING = ["exact", "below", "tie to even below", "tie to even above", "above", "too big"]
_VALUES = [
    f"{sign}{size}" for size in ("zero", "subnormal", "normal", "infinity") for sign in "+-"
] + ["NaN"]
_SHAPES = ["map", "reduce", "mask", "rotate"]
_COLUMNS = ["1", "lanes-1", "lanes", "lanes+1", "multiple", "other"]
_LIMITS = ["negative", "0", "in row 0", "behind row 0"]
_WINNERS = ["one", "tie in a vector", "tie of vectors", "zeros of both signs", "NaN", "two NaNs"]
_FP8 = ("e4m3", "e5m2")
PORTS = ("a", "b", "acc_read", "write")
# Mantissa bits, least exponent and greatest value of the types that round.
_FORMATS = {
    "bf16": (7, -126, float.fromhex("0x1.fep127")),
    "e4m3": (3, -6, 448.0),
    "e5m2": (2, -14, 57344.0),
    "i8": (0, 0, 127.0),
}


def _values(field: str) -> list[str]:
    choice = VECTOR.slots[field].field
    assert isinstance(choice, Choice)
    return list(choice.values)


def declare() -> Coverage:
    """The points of the vector unit."""
    cover = Coverage("vector")
    dts, ats, bts = _values("dt"), _values("at"), _values("bt")
    unary = [name for name in MNEMONICS if name not in (*BINARY, "vargmax")]
    cover.point("types", {"mnemonic": unary, "dt": dts, "at": ats})
    cover.point("types of vargmax", {"at": ats})
    cover.point("types of pairs", {"mnemonic": list(BINARY), "dt": dts, "at": ats, "bt": bts})
    cover.point("rounding", {"dt": list(_FORMATS), "case": ROUNDING})
    cover.point("values", {"at": ats, "value": _VALUES}, _impossible_values())
    ragged = {("rotate", "lanes+1"): "vrot takes up to a vector, or whole vectors"}
    cover.point("columns", {"shape": _SHAPES, "cols": _COLUMNS}, ragged)
    cover.point("rows of b", {"rep": ["0", "1", "more"], "bstride": ["0", "more"]})
    cover.point("in place of a", {"dt": list(SIZES)})
    cover.point("in place of b", {"dt": ["f32", "bf16"]})
    limits = {("vmask", "negative"): "its limit has no sign"}
    cover.point("limits", {"mnemonic": list(MASKS), "limit": _LIMITS}, limits)
    cover.point("maximum", {"vargmax": _WINNERS})
    cover.point("refused", {"port": list(PORTS)})
    return cover


def _impossible_values() -> dict[tuple[str, str], str]:
    waived = {}
    for value in _VALUES:
        if value not in ("+zero", "+normal", "-normal"):
            waived["i8", value] = "integers have no such value"
        if "infinity" in value:
            waived["e4m3", value] = "it has no infinities"
        if "subnormal" in value:
            waived |= {(at, value): "its least values are normal in fp32" for at in _FP8}
    return waived


def observe(cover: Coverage, c: Command, config: ChipConfig, a: np.ndarray, y: np.ndarray) -> None:
    """Count a command with its first source's values (rows, cols) and its fp32 results."""
    _observe_types(cover, c)
    cover.hit("columns", _shape(c.mnemonic), _columns(c.cols, config.lanes))
    if c.mnemonic in MASKS:
        cover.hit("limits", c.mnemonic, limit(c))
    if c.mnemonic == "vargmax":
        for row in a:
            cover.hit("maximum", winner(row, config.lanes))
    for value in np.unique(_classes(a)):
        cover.hit("values", c.at, _VALUES[value])
    if c.dt != "f32":
        for case in np.unique(roundings(c.dt, y)):
            cover.hit("rounding", c.dt, ROUNDING[case])


def _observe_types(cover: Coverage, c: Command) -> None:
    if c.mnemonic in BINARY:
        cover.hit("types of pairs", c.mnemonic, c.dt, c.at, c.bt)
        if c.bt != "scalar":
            stride = "more" if c.bstride else "0"
            cover.hit("rows of b", ["0", "1", "more"][min(c.rep, 2)], stride)
            if c.dst == c.b:
                cover.hit("in place of b", c.dt)
    elif c.mnemonic == "vargmax":
        cover.hit("types of vargmax", c.at)
    else:
        cover.hit("types", c.mnemonic, c.dt, c.at)
    if c.at != "acc" and c.dst == c.a:
        cover.hit("in place of a", c.dt)


def _shape(mnemonic: str) -> str:
    if mnemonic in REDUCTIONS or mnemonic == "vargmax":
        return "reduce"
    return "mask" if mnemonic in MASKS else "rotate" if mnemonic == "vrot" else "map"


def _columns(cols: int, lanes: int) -> str:
    edges = {1: "1", lanes - 1: "lanes-1", lanes: "lanes", lanes + 1: "lanes+1"}
    return edges.get(cols, "other" if cols % lanes else "multiple")


def limit(c: Command) -> str:
    """Where the limit of row 0 lies."""
    place = c.rep - (1 << 16) if c.mnemonic == "vmaskl" and c.rep >> 15 else c.rep
    return _LIMITS[(place >= 0) + (place > 0) + (place >= c.cols)]


def winner(row: np.ndarray, lanes: int) -> str:
    """What the maximum of a row is."""
    if nans := int(np.isnan(row).sum()):
        return "NaN" if nans == 1 else "two NaNs"
    flushed = np.where(np.abs(row) < 2.0**-126, np.copysign(np.float32(0), row), row)
    places = np.flatnonzero(flushed == flushed.max())
    if len(places) == 1:
        return "one"
    if len(np.unique(np.signbit(flushed[places]))) == 2:
        return "zeros of both signs"
    return "tie in a vector" if places[0] // lanes == places[-1] // lanes else "tie of vectors"


def _classes(x: np.ndarray) -> np.ndarray:
    """Positions in `_VALUES`."""
    size = np.abs(x).astype(np.float64)
    kind = 0 + (size > 0) + (size >= 2.0**-126) + (size == np.inf)
    return np.where(np.isnan(x), len(_VALUES) - 1, 2 * kind + np.signbit(x))


def roundings(dt: str, x: np.ndarray) -> np.ndarray:
    """Positions in `ROUNDING`; NaNs have none."""
    bits, least, greatest = _FORMATS[dt]
    size = np.abs(x[~np.isnan(x)].astype(np.float64))
    finite = np.where(np.isinf(size), 0, size)
    exponent = np.maximum(np.frexp(finite)[1] - 1, least) if dt != "i8" else 0
    units = np.ldexp(finite, bits - exponent)
    whole = np.floor(units)
    rest = units - whole
    tie = np.where(whole % 2 == 0, 2, 3)
    case = np.where(rest == 0, 0, np.where(rest < 0.5, 1, np.where(rest > 0.5, 4, tie)))
    return np.where(size > greatest, 5, case)
