"""glassllm's byte-pair tokenizer in the format of the `tokenizers` library.

The package has a format of its own (alphabet and merges). The same rules, said in the library's
terms: NFC text with "▁" for spaces; chunks at newlines and before runs of "▁"; merges by rank;
unknown characters become <unk>, each its own; special tokens are never read from text.
"""

from glassllm.tokenizer import SPACE, SPECIALS, Tokenizer

_CHUNKS = rf"\n|{SPACE}*[^{SPACE}\n]+|{SPACE}+"


def tokenizer_json(tokenizer: Tokenizer) -> dict:
    """Content of tokenizer.json: `Tokenizer.from_file` of the library encodes and decodes alike."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": _CHUNKS},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": SPECIALS[1],
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokenizer.vocab)},
            "merges": [list(pair) for pair in tokenizer.merges],
        },
    }
