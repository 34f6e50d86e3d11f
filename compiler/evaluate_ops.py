"""Operators that onnx's reference evaluates wrongly, evaluated rightly."""

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun


class GatherElements(OpRun):
    """The reference of onnx 1.23 takes only the first index of each row beyond 32 of them."""

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int = 0) -> tuple[Any]:
        """Behind the axis of choice, data may be larger than indices."""
        kept = [
            slice(None) if a == axis % data.ndim else slice(n) for a, n in enumerate(indices.shape)
        ]
        return (np.take_along_axis(data[tuple(kept)], indices, axis),)


CORRECTED: list[type[OpRun]] = [GatherElements]
