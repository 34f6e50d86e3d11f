"""One ONNX node: its values by onnx's reference, its types by onnx's inference, its name."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import defs, helper
from onnx.checker import ValidationError
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError, infer_node_outputs

from compiler.errors import CompileError
from compiler.evaluate_ops import CORRECTED
from compiler.graph import Source

Runner = Callable[..., list[np.ndarray]]
LARGEST = 1 << 27  # numbers of a value: a mask of 11,000 by 11,000
_OLDEST = {"DequantizeLinear": 19, "QuantizeLinear": 19}


def source_of(node: onnx.NodeProto) -> Source:
    """The node's name (its first output's, if it has none) and operator."""
    op_type = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    return Source(node.name or node.output[0], op_type)


def results(node: onnx.NodeProto) -> list[str]:
    """The names of the node's outputs, without the ones it leaves out."""
    return [name for name in node.output if name]


def _size(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> int:
    """Numbers that an output will have, at least roughly: of operators that make large values of
    small ones, and of all that broadcast."""
    op_type = node.op_type
    try:
        if op_type == "Gather":
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            return inputs[0].size // inputs[0].shape[axis] * inputs[1].size
        if op_type == "Range":
            start, limit, delta = (float(x.reshape(())) for x in inputs)
            return math.ceil(abs((limit - start) / delta))
        if op_type in ("ConstantOfShape", "Expand", "Tile"):
            known = inputs[0].shape if op_type != "ConstantOfShape" else ()
            sizes = [int(size) for size in inputs[-1].reshape(-1)]
            largest = math.prod(sizes) if sizes else 1
            return largest * (math.prod(known) if op_type == "Tile" else 1)
        return math.prod(np.broadcast_shapes(*(x.shape for x in inputs)))
    except (ValueError, TypeError, IndexError, ArithmeticError):
        return 0  # the evaluation says what is wrong, or other operators have other shapes


def _check_parts(node: onnx.NodeProto) -> None:
    """Of other numbers of parts than outputs, onnx's inference ends the process, or takes all
    memory; its checker does not look."""
    count = len(node.output)
    parts = next((a.i for a in node.attribute if a.name == "num_outputs"), count)
    if node.op_type == "Split" and parts != count:
        raise CompileError(str(source_of(node)), f"its {count} outputs do not fit {parts} parts")


class Nodes:
    """Runs nodes of a model that imports these operator sets, and infers their outputs' types."""

    def __init__(self, opsets: Sequence[onnx.OperatorSetIdProto], ir_version: int) -> None:
        self._opsets, self._ir_version = list(opsets), ir_version
        self._runners: dict[int, Runner] = {}

    def run(self, node: onnx.NodeProto, inputs: Iterable[np.ndarray]) -> list[np.ndarray]:
        """The node's outputs for the arrays of its non-empty inputs, by onnx.reference.

        CompileError also where they would be more than `LARGEST` numbers, made of fewer.
        """
        inputs = list(inputs)
        given = 2 * max((x.size for x in inputs), default=0)  # weights may be large
        if (size := _size(node, inputs)) > max(LARGEST, given):
            problem = f"its value would be {size} numbers, more than {LARGEST}"
            raise CompileError(str(source_of(node)), problem)
        try:
            if id(node) not in self._runners:
                self._runners[id(node)] = self._runner(node)
            return self._runners[id(node)](*inputs)
        except CompileError:
            raise
        except Exception as error:  # the reference raises anything, from IndexError to its own
            text = str(error) or type(error).__name__
            raise CompileError(str(source_of(node)), f"cannot be evaluated: {text}") from error

    def run_once(self, node: onnx.NodeProto, inputs: Iterable[np.ndarray]) -> list[np.ndarray]:
        """`run` of a node that does not live on: nothing is kept under its identity."""
        try:
            return self.run(node, inputs)
        finally:
            self._runners.pop(id(node), None)

    def _runner(self, node: onnx.NodeProto) -> Runner:
        _check_parts(node)
        names = list(dict.fromkeys(name for name in node.input if name))
        opsets = [helper.make_opsetid(o.domain, self._version(node, o)) for o in self._opsets]
        function = helper.make_function("", "one", names, results(node), [node], opsets)
        evaluator = ReferenceEvaluator(function, new_ops=CORRECTED)
        given = [name for name in node.input if name]

        def run(*inputs: np.ndarray) -> list[np.ndarray]:
            with np.errstate(all="ignore"):
                outputs = evaluator.run(None, dict(zip(given, inputs, strict=True)), attributes={})
            return [np.asarray(output) for output in outputs]

        return run

    def _version(self, node: onnx.NodeProto, opset: onnx.OperatorSetIdProto) -> int:
        """The operator set's own, or the first whose operator the reference has; that is the same,
        only for more types."""
        oldest = _OLDEST.get(node.op_type, 0) if opset.domain == node.domain else 0
        return max(int(opset.version), oldest)

    def infer(
        self,
        node: onnx.NodeProto,
        types: Mapping[str, onnx.TypeProto],
        data: Mapping[str, onnx.TensorProto],
    ) -> dict[str, onnx.TypeProto]:
        """Types of the outputs, from those of the inputs and the values of small ones."""
        _check_parts(node)
        version = next(o.version for o in self._opsets if o.domain == node.domain)
        try:
            schema = defs.get_schema(node.op_type, version, node.domain)
        except defs.SchemaError:
            problem = f"operator set {version}, which the model imports, has no such operator"
            raise CompileError(str(source_of(node)), problem) from None
        try:
            return infer_node_outputs(
                schema,
                node,
                dict(types),
                dict(data),
                opset_imports=self._opsets,
                ir_version=self._ir_version,
            )
        except (InferenceError, ValidationError, ValueError, RuntimeError) as error:
            raise CompileError(
                str(source_of(node)), f"its shapes do not fit: {str(error).strip()}"
            ) from error
