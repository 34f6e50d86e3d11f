"""How a program keeps weights, activations and KV cache: what --weights, --activations and --kv ask
for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import filter as matching

from compiler.graph import Op
from isa.formats import FORMATS, StorageFormat

# --weights → the ISA's format; compiler.weights says more of them.
STORED = {"fp8": "e4m3", "int8": "i8", "int4": "i4"} | {
    name: name for name in ("bf16", "mxfp8", "mxfp4", "nvfp4")
}
AUTO = "auto"
INT8 = "int8"  # also of --kv: the one whose scales calibration finds
WHOLE = "whole"  # weights of quantised models that are whole numbers of 8 bits, as they are
KINDS = STORED | {WHOLE: "i8"}
PRODUCTS = ("linear", "chosen_linear", "each_linear")
STATIC = "-static"  # of --activations: behind a format whose scales calibration finds
# --activations → the ISA's format of the numbers that the array multiplies.
CODES = {f"{name}{way}": STORED[name] for name in ("fp8", "int8") for way in ("", STATIC)}
PLAIN = "bf16"  # of products that no rule names


@dataclass(frozen=True)
class Rules:
    """What the products' formats are: of the rules (pattern of the ONNX nodes' names, as in file
    names, and a format) the last one that fits."""

    rules: tuple[tuple[str, str], ...] = ()

    def asked(self, op: Op) -> str:
        """The format that a product shall have."""
        names = [source.name for source in op.sources]
        fits = [kind for pattern, kind in self.rules if matching(names, pattern)]
        return fits[-1] if fits else PLAIN

    def unused(self, ops: Iterable[Op]) -> list[str]:
        """Patterns that no product has."""
        names = [source.name for op in ops if op.kind in PRODUCTS for source in op.sources]
        return [pattern for pattern, _ in self.rules if not matching(names, pattern)]

    def lines(self) -> list[str]:
        """As the command line has them."""
        return [f"{pattern}={kind}" for pattern, kind in self.rules] or [f"*={PLAIN}"]


def _parsed(flag: str, texts: Sequence[str], known: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """From "FORMAT" for all, or "PATTERN=FORMAT"; ValueError says what is wrong."""
    rules = []
    for text in texts:
        pattern, equals, name = text.rpartition("=")
        if name not in known or (equals and not pattern):
            names = ", ".join(known)
            raise ValueError(f"{flag} {text}: want [PATTERN=]FORMAT, FORMAT one of {names}")
        rules.append((pattern or "*", name))
    return tuple(rules)


@dataclass(frozen=True)
class Choice(Rules):
    """Formats of products' weights: those of `STORED` or `AUTO`."""

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Choice":
        """What --weights says; ValueError says what is wrong."""
        return cls(_parsed("--weights", texts, (*STORED, AUTO)))

    def of(self, op: Op) -> str:
        """The format of a product's weights."""
        kind = self.asked(op)
        return WHOLE if op.attributes.get("bytes") and kind in (PLAIN, AUTO, INT8) else kind

    def bits(self, op: Op) -> float:
        """Of a weight in memory, scales included; of `AUTO` those of bf16."""
        kind = self.of(op)
        entry = FORMATS[KINDS[PLAIN if kind == AUTO else kind]]
        scale = 8 * entry.scale_bytes / entry.block if entry.block else 0
        return 8 * entry.bytes_of(entry.block or 1) / (entry.block or 1) + scale


@dataclass(frozen=True)
class Activations(Rules):
    """Formats of what is multiplied with weights: those of `CODES`, or bf16."""

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Activations":
        """What --activations says; ValueError says what is wrong."""
        return cls(_parsed("--activations", texts, (PLAIN, *CODES)))

    @property
    def static(self) -> bool:
        """Whether calibration has to find scales."""
        return any(kind.endswith(STATIC) for _, kind in self.rules)


LOOPS = ("auto", "always", "never")  # layers that are alike: one loop?
KV = {"bf16": "bf16", "fp8": "e4m3", INT8: "i8"}  # --kv → the ISA's format


@dataclass(frozen=True)
class Storage:
    """How a program keeps its weights, if it is ``stored`` with them, its KV cache (one of `KV`)
    and what it multiplies with weights; whether layers that are alike become one loop (one of
    `LOOPS`). With ``slots``, a program serves so many sequences at a time, whose keys lie in
    ``pages`` (0: enough for a whole context in each slot). ``calibration``: ids of typical tokens,
    for the scales of an int8 cache and of static activations."""

    weights: Choice = Choice()
    kv: str = "bf16"
    stored: bool = True
    loops: str = "auto"
    slots: int = 0
    pages: int = 0
    calibration: tuple[int, ...] = ()
    activations: Activations = Activations()

    def __post_init__(self) -> None:
        if self.loops not in LOOPS:
            raise ValueError(f"--loops {self.loops}: want one of {', '.join(LOOPS)}")
        if not self.stored and any(kind == AUTO for _, kind in self.weights.rules):
            raise ValueError("--weights auto looks at the weights, which --no-weights leaves out")
        if self.kv not in KV:
            raise ValueError(f"--kv {self.kv}: want one of {', '.join(KV)}")
        needed = self.kv == INT8 or self.activations.static
        if self.calibration and not (needed and self.stored):
            kept = f"--kv {self.kv}" if self.stored else "--no-weights"
            raise ValueError(
                "--calibrate is for --kv int8, static --activations and programs with weights, "
                f"not {kept}"
            )

    @property
    def kv_format(self) -> StorageFormat:
        """Of keys and values in memory."""
        return FORMATS[KV[self.kv]]


IN_BF16 = Storage()
