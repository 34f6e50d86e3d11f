"""Where the trained models are that tests compare with; JALAPENO_MODELS overrides."""

import os
from pathlib import Path

import pytest

from tests.support import ROOT

MODELS = Path(os.environ.get("JALAPENO_MODELS", ROOT / "tests" / "models"))


def model_path(name: str) -> Path:
    """The model's file; skips the calling test, with the reason, where it is missing."""
    path = MODELS / name / "model.onnx"
    if not path.is_file():
        pytest.skip(f"{path} is missing; set JALAPENO_MODELS to the folder of models")
    return path
