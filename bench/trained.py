"""The trained models that the benchmark runs: their files, golden texts and compiled programs."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import BIN, ROOT, Line, command_cost

from isa.image import ProgramImage, load_image

MODELS = ROOT / "tests" / "models"
CONFIG = "tiny"


@dataclass(frozen=True)
class Text:
    """A prompt of ``prompt`` tokens and its greedy continuation in fp32: ids (n,)."""

    ids: np.ndarray
    prompt: int


@dataclass(frozen=True)
class Trained:
    """A model file; ``goldens`` is its key in goldens.json, ``context`` what it is compiled for."""

    name: str
    file: str
    goldens: str
    context: int

    @property
    def path(self) -> Path:
        return MODELS / self.file

    def texts(self, count: int | None = None) -> list[Text]:
        """The golden texts, or the first ``count`` of them."""
        texts = json.loads((MODELS / "goldens.json").read_text())[self.goldens]
        return [Text(np.array(t["greedy_ids"]), len(t["prompt_ids"])) for t in texts[:count]]


TRAINED = (
    Trained("stories260k", "stories260k/optimum_op18/model.onnx", "stories260K", 512),
    Trained("glass_en", "glass_en/optimum_op18/model.onnx", "glassllm_en", 128),
)


def compile_model(model: Trained, folder: Path) -> tuple[ProgramImage, Line]:
    """jcc in a process of its own, static checker included: the image and what it cost."""
    image = folder / f"{model.name}.jx"
    command = [str(BIN / "jcc"), str(model.path), "-o", str(image), "--config", CONFIG]
    cost = command_cost([*command, "--max-context", str(model.context), "--quiet"])
    program = load_image(image)
    note = f"{len(program.code) // 32} instructions, context {model.context}"
    return program, Line("jcc", model.name, cost.cpu, "CPU s", note=note)


def past_inputs(image: ProgramImage) -> dict[str, np.ndarray]:
    """Empty KV caches, as the ONNX file names them: (1, heads, 0, width) each."""
    return {
        tensor.name: np.zeros((1, tensor.groups, 0, tensor.width), np.float32)
        for tensor in image.io.of_kind("kv")
    }


def onnx_inputs(image: ProgramImage, ids: np.ndarray) -> dict[str, np.ndarray]:
    """All inputs that the model has, for tokens (S,) at the start of a context."""
    every = {
        "input_ids": ids[None].astype(np.int64),
        "attention_mask": np.ones((1, len(ids)), np.int64),
        "position_ids": np.arange(len(ids), dtype=np.int64)[None],
    }
    known = {tensor.name for tensor in image.io.tensors}
    return {k: v for k, v in every.items() if k in known} | past_inputs(image)
