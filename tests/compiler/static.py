"""Graphs of fixed shapes as text, compiled and run."""

import numpy as np
import onnx
import pytest
from onnx import parser

from compiler.onnx_backend import Program, Refused, prepare

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 3.4e38, -3.4e38, 1.2e-38, 1e-30, 1.0, -1.0]


def model(text: str, opset: int = 23) -> onnx.ModelProto:
    """A graph as text."""
    return parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> {text}')


def surely(program: Program, *inputs: np.ndarray) -> np.ndarray:
    """The only output; pytest would take a refusal for a skipped test."""
    try:
        return program.run(inputs)[0]
    except Refused as error:
        pytest.fail(f"refused: {error}")


def run(text: str, *inputs: np.ndarray) -> np.ndarray:
    """The only output."""
    return surely(prepare(model(text)), *inputs)


def numbers(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Of all sizes, some of them near each other."""
    values = random.standard_normal(shape) * 2.0 ** random.integers(-40, 40, shape)
    return values.astype(np.float32)
