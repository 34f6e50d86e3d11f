"""What formats of weights, activations and cache cost in quality: perplexities against fp32.

    python bench/perplexity.py [--docs docs/quality.md] [--config server] [--tokens 256] [NAME ...]

Models: glass_en and stories260k of tests/models, and SmolLM2-135M-Instruct if it was exported to
build/smollm2 (programs/export_smollm2.py). fp32 is onnxruntime, the formats are jcc's programs on
the functional simulator: activations and cache are in bf16 but in rows that name another format.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from compiler.pipeline import compile_file
from compiler.storage import INT8, STATIC, STORED, Activations, Choice, Storage
from isa.config import load_config
from sim.backends import make_backend
from sim.builds import ROOT
from sim.costs import costs, totals
from sim.runtime import Session

TEXTS = Path(__file__).parent
TRAINED = ROOT / "tests" / "models"
MIXED = ("mxfp4", "*{head}=int8")  # the last product decides the tokens
ARRAYS = ("fp8", INT8)  # that multiply nothing else: activations, weights, cache


@dataclass(frozen=True)
class Variant:
    """What a row measures: formats as the command line has them, on an array of ``element``."""

    weights: tuple[str, ...] = ("bf16",)
    activations: str = "bf16"
    kv: str = "bf16"
    element: str = "bf16"

    def storage(self, typical: tuple[int, ...]) -> Storage:
        """With ids for calibration where there is something to calibrate."""
        weights, inside = Choice.parse(self.weights), Activations.parse((self.activations,))
        ids = typical if self.kv == INT8 or inside.static else ()
        return Storage(weights, self.kv, calibration=ids, activations=inside)

    def name(self, head: str) -> str:
        """In the table."""
        parts = [", ".join(self.weights).replace(f"*{head}", "head")]
        for flag, kind in (("activations", self.activations), ("kv", self.kv)):
            parts += [f"{flag} {kind}"] if kind != "bf16" else []
        parts += [f"{self.element} array"] if self.element != "bf16" else []
        return ", ".join(parts)


def variants(head: str) -> Iterator[Variant]:
    """All rows of a model."""
    yield from (Variant((choice,)) for choice in sorted(STORED, key=_order))
    yield Variant(tuple(rule.format(head=head) for rule in MIXED))
    yield from (Variant(kv=kv) for kv in ARRAYS)
    for kind in ARRAYS:
        for inside in (kind, f"{kind}{STATIC}"):
            yield Variant((kind,), inside)
            yield Variant((kind,), inside, kind, kind)


@dataclass(frozen=True)
class Subject:
    """``folder`` with model.onnx; ``window``: tokens that it reads at once; ``head``: its last
    product; ``text``: a file of this folder, else ``ids``; ``typical``: another one, that an int8
    cache is calibrated with."""

    name: str
    folder: Path
    window: int
    head: str
    text: str = ""
    ids: tuple[int, ...] = ()
    typical: str | tuple[int, ...] = ()

    def encoded(self, text: str) -> tuple[int, ...]:
        """The tokens of a file of this folder."""
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        return tuple(tokenizer.encode((TEXTS / text).read_text()).ids)

    def calibration(self) -> tuple[int, ...]:
        """Tokens of the other text."""
        return self.encoded(self.typical) if isinstance(self.typical, str) else self.typical

    def windows(self, most: int) -> list[np.ndarray]:
        """The text, cut into pieces of at least two tokens."""
        ids = np.array((self.encoded(self.text) if self.text else self.ids)[:most])
        pieces = [ids[start : start + self.window] for start in range(0, len(ids), self.window)]
        return [piece for piece in pieces if len(piece) > 1]


def subjects() -> list[Subject]:
    """Those that are there."""
    told, other = json.loads((TRAINED / "goldens.json").read_text())["stories260K"][:2]
    found = [
        Subject(
            "glass_en",
            ROOT / "build" / "glass",
            128,
            "logits",
            "alice.txt",
            typical="story.txt",
        ),
        Subject(
            "stories260k",
            TRAINED / "stories260k" / "optimum_op18",
            512,
            "lm_head/MatMul",
            ids=tuple(told["greedy_ids"]),
            typical=tuple(other["greedy_ids"]),
        ),
        Subject(
            "SmolLM2-135M-Instruct",
            ROOT / "build" / "smollm2",
            256,
            "logits",
            "story.txt",
            typical="alice.txt",
        ),
    ]
    return [subject for subject in found if (subject.folder / "model.onnx").exists()]


def reference(subject: Subject, pieces: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Logits of each piece, by onnxruntime."""
    session = onnxruntime.InferenceSession(subject.folder / "model.onnx")
    for ids in pieces:
        feeds: dict[str, np.ndarray] = {}
        for x in session.get_inputs():
            if x.name.startswith("past"):
                feeds[x.name] = np.zeros((1, x.shape[1], 0, x.shape[3]), np.float32)
        feeds |= {"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int64)}
        if any(x.name == "position_ids" for x in session.get_inputs()):
            feeds["position_ids"] = np.arange(len(ids))[None]
        yield session.run(["logits"], feeds)[0][0]


def computed(
    subject: Subject, pieces: Sequence[np.ndarray], config: str, variant: Variant
) -> tuple[int, list[np.ndarray]]:
    """Bytes that it reads for one token, and logits of each piece, by the program."""
    path, storage = subject.folder / "model.onnx", variant.storage(subject.calibration())
    chip = load_config(config).replace(element=variant.element)
    image = compile_file(path, chip, subject.window, storage=storage)
    session, logits = Session(image, make_backend("functional")), []
    for ids in pieces:
        session.reset()
        logits.append(session.step(ids))
    return totals(costs(image))["hbm_read"], logits


def log_losses(pieces: Sequence[np.ndarray], logits: Sequence[np.ndarray]) -> np.ndarray:
    """-log p of every token that has one before it, in float64."""
    found = []
    for ids, rows in zip(pieces, logits, strict=True):
        x = rows[:-1].astype(np.float64)
        x -= x.max(axis=1, keepdims=True)
        found.append(np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(x)), ids[1:]])
    return np.concatenate(found)


def measure(subject: Subject, config: str, most: int, only: str = "") -> Iterator[tuple[str, ...]]:
    """Rows of the table, those whose name holds ``only``."""
    pieces = subject.windows(most)
    wanted = list(reference(subject, pieces))
    exact = np.exp(log_losses(pieces, wanted).mean())
    best = np.concatenate([rows.argmax(axis=1) for rows in wanted])
    yield subject.name, "fp32 (onnxruntime)", "", f"{exact:.3f}", "", ""
    for variant in variants(subject.head):
        name = variant.name(subject.head)
        if only not in name:
            continue
        size, logits = computed(subject, pieces, config, variant)
        found = np.exp(log_losses(pieces, logits).mean())
        same = (np.concatenate([rows.argmax(axis=1) for rows in logits]) == best).mean()
        changed = f"{found / exact - 1:+.1%}"
        yield subject.name, name, f"{size / 1e6:.2f}", f"{found:.3f}", changed, f"{same:.1%}"


def _order(choice: str) -> int:
    return ("bf16", "fp8", "int8", "mxfp8", "int4", "nvfp4", "mxfp4").index(choice)


COLUMNS = ("model", "formats", "MB a token", "perplexity", "against fp32", "same next token")
INTRODUCTION = """# What formats cost in quality

Made by `python bench/perplexity.py --docs docs/quality.md`. fp32 is onnxruntime; all others are
programs for `server`, run on the functional simulator. A row begins with the format of the weights
(`--weights`), which are rounded as they are, without calibration data; activations
(`--activations`) and KV cache (`--kv`) are in bf16 where the row does not say otherwise. int8
caches and static activations are calibrated on a text that is not measured, other activations have
a scale for each token. "fp8 array" and "int8 array" are chips whose `element` that is: there
attention's products are of 8 bits, too.

- SmolLM2 reads `bench/story.txt`, written for this purpose: no model has seen it. glass_en reads
  the beginning of "Alice's Adventures in Wonderland" (`bench/alice.txt`), which it may have been
  trained on. stories260k, whose tokenizer is not here, reads what it wrote itself (greedily, in
  fp32, `tests/models/goldens.json`): every change makes that less likely.
- {tokens}; each window of a context's length stands alone, its first token is not counted.
- "same next token": how often the likeliest token is the one that fp32 finds.
- SmolLM2's weights come from blocks of 4 bits already (GGUF Q4_1, its embedding Q8_0): what is
  measured is the loss on top of that.
- "MB a token": what is read from HBM for a single token at position 0, code apart.

"""


def main() -> None:
    """Command line of this script."""
    known = {subject.name: subject for subject in subjects()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--config", default="server", help="the chip, default: server")
    parser.add_argument("--tokens", type=int, default=512, help="most tokens that are read")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows that hold it, not all")
    parser.add_argument("--docs", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    console = Console(stderr=True)
    if unknown := set(options.names) - known.keys():
        parser.error(f"unknown models: {', '.join(unknown)}")
    rows: list[tuple[str, ...]] = []
    for name in options.names or known:
        for row in measure(known[name], options.config, options.tokens, options.only):
            console.print(*row)
            rows.append(row)
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if options.docs:
        lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|" + "---:|" * (len(COLUMNS) - 2)]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        text = INTRODUCTION.format(tokens=f"At most {options.tokens} tokens are read")
        options.docs.write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
