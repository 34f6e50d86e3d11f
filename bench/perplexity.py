"""What storage formats of weights cost in quality: the perplexity of each against fp32.

    python bench/perplexity.py [--docs docs/quality.md] [--config server] [--tokens 256] [NAME ...]

Models: glass_en and stories260k of tests/models, and SmolLM2-135M-Instruct if it was exported to
build/smollm2 (programs/export_smollm2.py). fp32 is onnxruntime, the formats are jcc's programs on
the functional simulator: bf16 activations and, but for the rows that name another, cache.
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
from compiler.storage import INT8, STORED, Choice, Storage
from isa.config import load_config
from sim.backends import make_backend
from sim.builds import ROOT
from sim.costs import costs, totals
from sim.runtime import Session

TEXTS = Path(__file__).parent
TRAINED = ROOT / "tests" / "models"
CACHES = ("fp8", INT8)
MIXED = ("mxfp4", "*{head}=int8")  # the last product decides the tokens


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
    subject: Subject, pieces: Sequence[np.ndarray], config: str, storage: Storage
) -> tuple[int, list[np.ndarray]]:
    """Bytes that it reads for one token, and logits of each piece, by the program."""
    path = subject.folder / "model.onnx"
    image = compile_file(path, load_config(config), subject.window, storage=storage)
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


def measure(subject: Subject, config: str, most: int) -> Iterator[tuple[str, ...]]:
    """Rows of the table."""
    pieces = subject.windows(most)
    wanted = list(reference(subject, pieces))
    exact = np.exp(log_losses(pieces, wanted).mean())
    best = np.concatenate([rows.argmax(axis=1) for rows in wanted])
    yield subject.name, "fp32 (onnxruntime)", "", f"{exact:.3f}", "", ""
    mixed = tuple(rule.format(head=subject.head) for rule in MIXED)
    weights = (*((choice,) for choice in sorted(STORED, key=_order)), mixed)
    choices = [(rules, Storage(Choice.parse(rules))) for rules in weights]
    for kv in CACHES:
        ids = subject.calibration() if kv == INT8 else ()
        choices.append((("bf16", f"kv {kv}"), Storage(kv=kv, calibration=ids)))
    for rules, storage in choices:
        size, logits = computed(subject, pieces, config, storage)
        found = np.exp(log_losses(pieces, logits).mean())
        same = (np.concatenate([rows.argmax(axis=1) for rows in logits]) == best).mean()
        name = ", ".join(rules).replace(f"*{subject.head}", "head")
        changed = f"{found / exact - 1:+.1%}"
        yield subject.name, name, f"{size / 1e6:.2f}", f"{found:.3f}", changed, f"{same:.1%}"


def _order(choice: str) -> int:
    return ("bf16", "fp8", "int8", "mxfp8", "int4", "nvfp4", "mxfp4").index(choice)


COLUMNS = ("model", "weights", "MB a token", "perplexity", "against fp32", "same next token")
INTRODUCTION = """# What storage formats cost in quality

Made by `python bench/perplexity.py --docs docs/quality.md`. fp32 is onnxruntime; all others are
programs that `--weights` asks for, run on the functional simulator, with activations and KV cache
in bf16. Weights are rounded as they are, without calibration data. Rows with "kv" have another
cache (`--kv`), that of int8 calibrated on a text that is not measured.

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
    parser.add_argument("--docs", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    console = Console(stderr=True)
    if unknown := set(options.names) - known.keys():
        parser.error(f"unknown models: {', '.join(unknown)}")
    rows: list[tuple[str, ...]] = []
    for name in options.names or known:
        for row in measure(known[name], options.config, options.tokens):
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
