"""Writes the English model of the package glassllm as ONNX, with KV cache, and its tokenizer.

    python programs/export_glass.py -o build/glass      # model.onnx and tokenizer.json

A Llama-style decoder (4 layers, hidden 128, 4 heads, 2 KV heads, ffn 341, vocabulary 1024, context
128; MIT). Inputs and outputs are named as exporters name them. The package rotates adjacent pairs
of a head's coordinates, exporters rotate halves: the columns of W_Q and W_K are permuted, which
leaves every score as it was (and cached keys permuted as in other exports).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
from glassllm import GlassLM, load_pretrained

from glass_tokenizer import tokenizer_json
from llama_graph import Decoder, build_graph, halves_first


def build_model(model: GlassLM) -> onnx.ModelProto:
    """The ONNX model, checked, of glassllm's `model`; fp32 throughout."""
    cfg = model.cfg

    def weights(name: str) -> np.ndarray:
        if name in ("embed", "norm"):
            return {"embed": model.E, "norm": model.norm_f.gamma}[name].data
        _, number, part = name.split(".", 2)
        block = model.blocks[int(number)]
        attn, ffn = block.attn, block.ffn
        found = {
            "norm1": block.norm1.gamma, "norm2": block.norm2.gamma,
            "attn.q": attn.W_Q, "attn.k": attn.W_K, "attn.v": attn.W_V, "attn.o": attn.W_O,
            "ffn.gate": ffn.W1, "ffn.up": ffn.W3, "ffn.down": ffn.W2,
        }[part].data  # fmt: skip
        heads = {"attn.q": cfg.n_heads, "attn.k": cfg.n_kv_heads}.get(part)
        return halves_first(found, heads) if heads else found

    sizes = (
        cfg.n_layers,
        cfg.d_model,
        cfg.n_heads,
        cfg.n_kv_heads,
        model.blocks[0].ffn.W1.shape[1],
    )
    decoder = Decoder("glass", *sizes, cfg.vocab_size, cfg.rope_base, cfg.eps, weights)
    result = build_graph(decoder)
    onnx.checker.check_model(result, full_check=True)
    return result


def export(directory: Path) -> None:
    """Write model.onnx and tokenizer.json to `directory`, which is made if needed."""
    model, tokenizer = load_pretrained("en")
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(build_model(model), directory / "model.onnx")
    text = json.dumps(tokenizer_json(tokenizer), ensure_ascii=False, indent=1)
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("build/glass"))
    export(parser.parse_args().output)


if __name__ == "__main__":
    main()
