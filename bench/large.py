"""jcc on large models: CPU time and memory; SmolLM2's answer and speed.

    python bench/large.py

A layer of Llama-3-8B with its real sizes (random weights in fp16, 436 MB beside the graph), written
to build/llama3-layer; the whole of Llama-3-8B and -70B without their weights; and
SmolLM2-135M-Instruct, if programs/export_smollm2.py has written it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from rich.console import Console
from rich.table import Table

from sim.builds import ROOT

sys.path.insert(0, str(ROOT / "programs"))
from export_sizes import decoder
from llama_graph import Decoder, build_graph

BIN = Path(sys.executable).parent
LAYER, SMOL = ROOT / "build" / "llama3-layer", ROOT / "build" / "smollm2"
# The HBM that holds them: 64 pseudo-channels of 512 MiB, or for 70B a simple memory.
WHOLE = {
    "llama-3-8b": "hbm_stacks=2,hbm_channels=32",
    "llama-3-70b": f"hbm=,memory_bytes={1 << 38}",
}
CONTEXT = {"llama-3-8b": "8192", "llama-3-70b": "2048"}
# Sizes: config.json of Meta-Llama-3-8B; the vocabulary is cut down to what a layer needs.
HIDDEN, HEADS, KV_HEADS, FFN, VOCABULARY, ROPE_BASE, EPS = 4096, 32, 8, 14336, 256, 5e5, 1e-5


def _weights(name: str) -> np.ndarray:
    dice, kv = np.random.default_rng(len(name)), HIDDEN // HEADS * KV_HEADS
    if "norm" in name:
        return np.ones(HIDDEN, np.float32)
    shape = {
        "embed": (VOCABULARY, HIDDEN), "attn.q": (HIDDEN, HIDDEN), "attn.o": (HIDDEN, HIDDEN),
        "attn.k": (HIDDEN, kv), "attn.v": (HIDDEN, kv), "ffn.gate": (HIDDEN, FFN),
        "ffn.up": (HIDDEN, FFN), "ffn.down": (FFN, HIDDEN),
    }[name.removeprefix("layers.0.")]  # fmt: skip
    values = dice.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[0]))
    return values if name == "embed" else values.astype(np.float16)


def write_layer() -> Path:
    """The layer as ONNX, its fp16 weights behind casts."""
    path = LAYER / "model.onnx"
    if path.exists():
        return path
    decoder = Decoder(
        "layer", 1, HIDDEN, HEADS, KV_HEADS, FFN, VOCABULARY, ROPE_BASE, EPS, _weights
    )
    model = build_graph(decoder)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            name, tensor.name = tensor.name, f"{tensor.name}.half"
            cast = helper.make_node("Cast", [tensor.name], [name], f"{name}/cast", to=1)
            casts.append(cast)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    LAYER.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path, save_as_external_data=True, location="model.onnx.data")
    return path


def without_weights(name: str) -> Path:
    """The graph of a whole model, written to build/."""
    path = ROOT / "build" / name / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(build_graph(decoder(name)), path)
    return path


def run(*words: str | Path) -> tuple[float, float, str]:
    """CPU seconds, GB of the largest resident set, and what the command says."""
    read, write = os.pipe()
    process = subprocess.Popen([str(word) for word in words], stdout=write, stderr=write)
    os.close(write)
    with os.fdopen(read) as output:
        said = output.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words[0]} failed: {said}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6, " ".join(said.split())


def main() -> None:
    """Print a row for each command."""
    table = Table("what", "CPU s", "GB", "result")
    server = ("--config", "server")
    image = LAYER / "model.jx"
    cpu, memory, said = run(
        BIN / "jcc", write_layer(), "-o", image, *server, "--max-context", "1024"
    )
    table.add_row("jcc, a layer of Llama-3-8B", f"{cpu:.1f}", f"{memory:.1f}", said)
    for name, memory in WHOLE.items():
        words = ("--config", f"server,{memory}", "--max-context", CONTEXT[name], "--no-weights")
        image = ROOT / "build" / name / "model.jx"
        cpu, peak, said = run(BIN / "jcc", without_weights(name), "-o", image, *words)
        table.add_row(f"jcc --no-weights, {name}", f"{cpu:.1f}", f"{peak:.1f}", said)
    if (SMOL / "model.onnx").exists():
        image = SMOL / "model.jx"
        cpu, memory, said = run(
            BIN / "jcc", SMOL / "model.onnx", "-o", image, *server, "--max-context", "512"
        )
        table.add_row("jcc, SmolLM2-135M-Instruct", f"{cpu:.1f}", f"{memory:.1f}", said)
        prompt = ("--prompt", "The capital of France is", "--tokens", "16")
        tokenizer = ("--tokenizer", SMOL / "tokenizer.json")
        cpu, memory, said = run(BIN / "jalapeno", "generate", image, *tokenizer, *prompt)
        said = re.sub(r"(\d+ tokens in)", r"| \1", said)
        table.add_row("jalapeno generate, functional", f"{cpu:.1f}", f"{memory:.1f}", said)
    Console().print(table)


if __name__ == "__main__":
    main()
