"""How a program keeps weights and KV cache: what --weights and --kv ask for."""

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
WHOLE = "whole"  # weights of quantised models that are whole numbers of 8 bits, as they are
KINDS = STORED | {WHOLE: "i8"}
PRODUCTS = ("linear", "chosen_linear", "each_linear")


@dataclass(frozen=True)
class Choice:
    """Which format the weights of a product have: of the rules (pattern of the ONNX nodes' names,
    as in file names, and one of `STORED` or `AUTO`) the last one that fits; bf16 without."""

    rules: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Choice":
        """From "FORMAT" for all, or "PATTERN=FORMAT"; ValueError says what is wrong."""
        rules = []
        for text in texts:
            pattern, equals, name = text.rpartition("=")
            if name not in (*STORED, AUTO) or (equals and not pattern):
                known = ", ".join((*STORED, AUTO))
                raise ValueError(f"--weights {text}: want [PATTERN=]FORMAT, FORMAT one of {known}")
            rules.append((pattern or "*", name))
        return cls(tuple(rules))

    def of(self, op: Op) -> str:
        """The format of a product's weights."""
        names = [source.name for source in op.sources]
        fits = [kind for pattern, kind in self.rules if matching(names, pattern)]
        kind = fits[-1] if fits else "bf16"
        return WHOLE if op.attributes.get("bytes") and kind in ("bf16", AUTO) else kind

    def bits(self, op: Op) -> float:
        """Of a weight in memory, scales included; of `AUTO` those of bf16."""
        kind = self.of(op)
        entry = FORMATS[KINDS["bf16" if kind == AUTO else kind]]
        scale = 8 * entry.scale_bytes / entry.block if entry.block else 0
        return 8 * entry.bytes_of(entry.block or 1) / (entry.block or 1) + scale

    def unused(self, ops: Iterable[Op]) -> list[str]:
        """Patterns that no product has."""
        names = [source.name for op in ops if op.kind in PRODUCTS for source in op.sources]
        return [pattern for pattern, _ in self.rules if not matching(names, pattern)]


LOOPS = ("auto", "always", "never")  # layers that are alike: one loop?
INT8 = "int8"  # of --kv: the one whose scales calibration finds
KV = {"bf16": "bf16", "fp8": "e4m3", INT8: "i8"}  # --kv → the ISA's format


@dataclass(frozen=True)
class Storage:
    """How a program keeps its weights, if it is ``stored`` with them, and its KV cache (one of
    `KV`); whether layers that are alike become one loop (one of `LOOPS`). With ``slots``, a program
    serves so many sequences at a time, whose keys lie in ``pages`` (0: enough for a whole context
    in each slot). ``calibration``: ids of typical tokens, for the scales of an int8 cache."""

    weights: Choice = Choice()
    kv: str = "bf16"
    stored: bool = True
    loops: str = "auto"
    slots: int = 0
    pages: int = 0
    calibration: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.loops not in LOOPS:
            raise ValueError(f"--loops {self.loops}: want one of {', '.join(LOOPS)}")
        if not self.stored and any(kind == AUTO for _, kind in self.weights.rules):
            raise ValueError("--weights auto looks at the weights, which --no-weights leaves out")
        if self.kv not in KV:
            raise ValueError(f"--kv {self.kv}: want one of {', '.join(KV)}")
        if self.calibration and (self.kv != INT8 or not self.stored):
            kept = f"--kv {self.kv}" if self.stored else "--no-weights"
            raise ValueError(f"--calibrate is for --kv int8 and programs with weights, not {kept}")

    @property
    def kv_format(self) -> StorageFormat:
        """Of keys and values in memory."""
        return FORMATS[KV[self.kv]]


IN_BF16 = Storage()
