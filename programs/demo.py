"""The demo: a trained language model from its weights to text, then one step of it on the RTL.

Each step is a command that works as well when typed by hand; this script prints and runs them.
"""

import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

BUILD = Path("build/glass")
BIN = Path(sys.executable).parent
PROMPT = "Alice was beginning to"

STEPS = (
    (
        "The weights of a 4-layer Llama-style model (PyPI package glassllm), written as ONNX",
        [str(BIN / "python"), "programs/export_glass.py", "-o", str(BUILD)],
    ),
    (
        "Compile: one program for every prompt length and every position, checked for hazards",
        [str(BIN / "jcc"), f"{BUILD}/model.onnx", "-o", f"{BUILD}/model.jx"]
        + ["--config", "tiny", "--max-context", "128", "--listing", f"{BUILD}/model.s"],
    ),
    (
        "The model writes, on the chip's functional simulator",
        [str(BIN / "jalapeno"), "generate", f"{BUILD}/model.jx"]
        + ["--tokenizer", f"{BUILD}/tokenizer.json", "--prompt", PROMPT, "--tokens", "80"],
    ),
    (
        "The same program on the RTL (Verilator; built once, about a minute), compared bit by bit",
        [str(BIN / "jalapeno"), "verify", f"{BUILD}/model.jx", "--steps", "1"]
        + ["--tokenizer", f"{BUILD}/tokenizer.json", "--prompt", PROMPT],
    ),
)


def main() -> None:
    """Run all steps; the first that fails ends the demo with its exit status."""
    console = Console(highlight=False)
    start = time.perf_counter()
    for number, (title, command) in enumerate(STEPS, 1):
        shown = " ".join(_quoted(part) for part in command)
        console.print(f"\n[bold]{number}. {title}[/bold]\n[dim]$ {shown}[/dim]\n", soft_wrap=True)
        result = subprocess.run(command, check=False)
        if result.returncode:
            sys.exit(result.returncode)
    console.print(f"\nDemo done in {time.perf_counter() - start:.0f} s. Next: README.md.")


def _quoted(part: str) -> str:
    """The command as one types it: without the environment's folder."""
    part = part.removeprefix(f"{BIN}/")
    return f'"{part}"' if " " in part else part


if __name__ == "__main__":
    main()
