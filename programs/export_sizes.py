"""A Llama-style decoder of given sizes as ONNX, without its weights, for `jcc --no-weights`.

python programs/export_sizes.py llama-3-8b -o build/llama-3-8b
"""

from pathlib import Path
from typing import Annotated

import onnx
import typer

from graph_writer import Absent
from llama_graph import Decoder, build_graph

# layers, hidden, heads, KV heads, FFN, vocabulary: config.json of Meta-Llama-3-8B, -70B, and of
# Llama-3.2-1B.
SIZES = {
    "llama-3.2-1b": (16, 2048, 32, 8, 8192, 128256),
    "llama-3-8b": (32, 4096, 32, 8, 14336, 128256),
    "llama-3-70b": (80, 8192, 64, 8, 28672, 128256),
}
ROPE_BASE, EPS = 5e5, 1e-5


def decoder(name: str, layers: int | None = None, vocabulary: int | None = None) -> Decoder:
    """The named model, perhaps with another number of layers or words; its weights are only
    shapes."""
    depth, hidden, heads, kv_heads, ffn, words = SIZES[name]
    vocabulary = vocabulary or words
    kv = hidden // heads * kv_heads
    shapes = {
        "embed": (vocabulary, hidden), "attn.q": (hidden, hidden), "attn.o": (hidden, hidden),
        "attn.k": (hidden, kv), "attn.v": (hidden, kv), "ffn.gate": (hidden, ffn),
        "ffn.up": (hidden, ffn), "ffn.down": (ffn, hidden),
        "norm": (hidden,), "norm1": (hidden,), "norm2": (hidden,),
    }  # fmt: skip

    def weights(tensor: str) -> Absent:
        part = tensor.split(".", 2)[2] if tensor.startswith("layers.") else tensor
        return Absent(shapes[part], "model.onnx.data")

    sizes = (hidden, heads, kv_heads, ffn, vocabulary)
    return Decoder(name, depth if layers is None else layers, *sizes, ROPE_BASE, EPS, weights)


def main(
    model: Annotated[str, typer.Argument(help=f"One of {', '.join(SIZES)}.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model.onnx.")],
    layers: Annotated[int | None, typer.Option(min=1, help="Another number of layers.")] = None,
) -> None:
    """Write model.onnx, which names a data file that does not exist."""
    if model not in SIZES:
        raise typer.BadParameter(f"must be one of {', '.join(SIZES)}, not {model!r}")
    output.mkdir(parents=True, exist_ok=True)
    onnx.save(build_graph(decoder(model, layers)), output / "model.onnx")


if __name__ == "__main__":
    typer.run(main)
