"""Models as onnxruntime's quantiser writes them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests.compiler.decoder import VOCABULARY, feeds, past_of
from tests.support import rng

TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8, "int16": QuantType.QInt16}


class Calibration(CalibrationDataReader):
    """Three texts of 9 tokens, behind none, 5 and 9 others."""

    def __init__(self, model: onnx.ModelProto, vocabulary: int) -> None:
        random = rng(1)
        self._inputs = iter(
            [
                feeds(model, random.integers(0, vocabulary, 9), past_of(model, past, random))
                for past in (0, 5, 9)
            ]
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._inputs, None)


def static(
    model: onnx.ModelProto,
    activations: str = "int8",
    weights: str = "int8",
    operators: Sequence[str] = ("MatMul",),
    vocabulary: int = VOCABULARY,
    form: QuantFormat = QuantFormat.QDQ,
    **more: Any,
) -> onnx.ModelProto:
    """`model` with operators whose inputs and outputs are quantised, by constant scales."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        quantize_static(
            before,
            after,
            Calibration(model, vocabulary),
            quant_format=form,
            op_types_to_quantize=list(operators),
            activation_type=TYPES[activations],
            weight_type=TYPES[weights],
            **more,
        )
        return onnx.load(after)
