"""Which operator is done by what; all others by their definition in the standard, if they have
one."""

from collections.abc import Callable, Sequence

from compiler.static import cast, einsum, elementwise, integers, lookups, quantise, reduce, shuffle
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
    "Cast": cast.cast,
    "CastLike": cast.cast,
    "Clip": elementwise.clip,
    "Cos": elementwise.circular,
    "CumProd": reduce.cumulative,
    "CumSum": reduce.cumulative,
    "DequantizeLinear": quantise.dequantise,
    "Dropout": shuffle.dropout,
    "Einsum": einsum.einsum,
    "Gather": lookups.gather,
    "GatherElements": lookups.gather_elements,
    "GatherND": lookups.gather_nd,
    "Gemm": quantise.gemm,
    "IsInf": elementwise.is_infinite,
    "MatMul": matmul,
    "MatMulInteger": quantise.matmul_integer,
    "Mod": integers.modulo,
    "OneHot": lookups.one_hot,
    "Pow": elementwise.power,
    "QLinearMatMul": quantise.qlinear_matmul,
    "QuantizeLinear": quantise.quantise,
    "Sin": elementwise.circular,
    "TopK": lookups.top_k,
    "Where": elementwise.where,
}
# Operator sets before which they meant something else, or had attributes that inputs are now.
OLDEST = {
    **dict.fromkeys(["Add", "And", "Div", "Dropout", "Equal", "Greater", "Less", "Mul", "Or"], 7),
    "Cast": 6,
    "Clip": 11,
    "Pow": 7,
    "Sub": 7,
    "TopK": 10,
    "Xor": 7,
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
