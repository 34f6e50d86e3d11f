"""Where the trained models are that tests compare with; JALAPENO_MODELS overrides."""

import os
from pathlib import Path

from tests.support import ROOT

MODELS = Path(os.environ.get("JALAPENO_MODELS", ROOT / "tests" / "models"))


def model_path(name: str) -> Path:
    """The model's file."""
    return MODELS / name / "model.onnx"
