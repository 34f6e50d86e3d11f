"""Lowering of products of groups with weights of their own: all experts, as some graphs do it."""

from compiler import builder as b
from compiler.expert_weights import stacked_weights
from compiler.graph import Constant, Op, Tensor
from compiler.lower_linear import Product, activation, block_shape, multiply_block
from compiler.lowering import Lowering
from compiler.storage import KINDS
from isa.config import BF16_BYTES, F32_BYTES


def lower_each_linear(low: Lowering, op: Op) -> None:
    """Each group of a token times weights of its own."""
    x, name = op.inputs
    assert isinstance(x, Tensor)
    assert isinstance(name, Constant)
    _, k, n = low.graph.constants[name.name].shape
    matrix, kind, pitch = stacked_weights(low, op, name)
    rows, stride = activation(low, op, x, x.groups)
    k_step, n_step = block_shape(low, op, (k, n), 1, KINDS[kind])
    for n0 in range(0, n, n_step):
        columns, factors = slice(n0, min(n0 + n_step, n)), None
        if scales := low.matrices.column_scales(matrix, kind, columns):
            place = f"scales of {name.name}[{n0}:]"
            factors = low.later_row(place, columns.stop - n0, scales)
        for expert, target in enumerate(low.by_token(op, op.output)):
            acc, group = low.builder.accumulators(), expert if x.groups > 1 else 0
            for k0 in range(0, k, k_step):
                part = slice(expert * pitch + k0, expert * pitch + min(k0 + k_step, k))
                block = low.matrices.block(matrix, kind, part, columns)
                weights = low.builder.load("weights", block.source)
                first = rows.at(BF16_BYTES * k0 + group * stride)
                where = rows.access(), first, x.groups * stride
                multiply_block(low, (block, weights), where, acc, b.M, k0 == 0)
            mnemonic, reads, fields = Product(acc, n0, columns.stop - n0, factors).source(b.M)
            fields |= {
                "dst": target.buffer.at(target.offset + F32_BYTES * n0),
                "dstride": target.stride,
            }
            low.builder.emit(mnemonic, reads, (target.buffer.access(),), fields=fields)
