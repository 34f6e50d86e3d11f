"""Which operator is done by what; all others by their definition in the standard, if they have
one."""

from collections.abc import Callable, Sequence

from compiler.static import elementwise, lookups, quantise, reduce, shuffle
from compiler.static.node import Node
from compiler.static.product import matmul
from compiler.static.values import Value

Handler = Callable[[Node], Sequence[Value]]

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(elementwise.RULES, elementwise.elementwise),
    **dict.fromkeys(
        [
            *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
            *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
        ],
        reduce.reduction,
    ),
    "ArgMax": reduce.argument,
    "ArgMin": reduce.argument,
    "Cast": elementwise.cast,
    "CastLike": elementwise.cast,
    "Clip": elementwise.clip,
    "CumSum": reduce.cumulative,
    "DequantizeLinear": quantise.dequantise,
    "Dropout": shuffle.dropout,
    "Gather": lookups.gather,
    "GatherElements": lookups.gather_elements,
    "GatherND": lookups.gather_nd,
    "Gemm": quantise.gemm,
    "IsInf": elementwise.is_infinite,
    "MatMul": matmul,
    "MatMulInteger": quantise.matmul_integer,
    "Mod": elementwise.modulo,
    "OneHot": lookups.one_hot,
    "Pow": elementwise.power,
    "QLinearMatMul": quantise.qlinear_matmul,
    "QuantizeLinear": quantise.quantise,
    "TopK": lookups.top_k,
    "Where": elementwise.where,
}
# With these, indices that the program computes are looked up by it; known ones are movements.
BY_INDICES = {"Gather", "GatherElements", "GatherND"}
# Their values are not decided by those of their inputs.
RANDOM = {
    *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"),
    "RandomUniformLike",
}
# All their inputs decide about the shape of what comes out.
SHAPING = {"BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "Range"}
# Of the shapes of their inputs alone.
BY_SHAPE = {"EyeLike", "Shape", "Size"}
