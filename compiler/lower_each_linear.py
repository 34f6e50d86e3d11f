"""Lowering of products of groups with weights of their own: all experts, as some graphs do it."""

from dataclasses import replace

from compiler import builder as b
from compiler.expert_weights import stacked_weights
from compiler.graph import Constant, Op, Tensor
from compiler.lower_activations import entering
from compiler.lower_linear import Product, block_shape, multiply_block
from compiler.lowering import Lowering, of_group
from compiler.storage import KINDS
from isa.config import F32_BYTES


def lower_each_linear(low: Lowering, op: Op) -> None:
    """Each group of a token times weights of its own."""
    x, name = op.inputs
    assert isinstance(x, Tensor)
    assert isinstance(name, Constant)
    _, k, n = low.graph.constants[name.name].shape
    matrix, kind, pitch = stacked_weights(low, op, name)
    rows = entering(low, op, x, x.groups)
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
                where = rows, rows.at(k0, group), x.groups * rows.stride
                multiply_block(low, (block, weights), where, acc, b.M, k0 == 0)
            of_rows = rows.scales and of_group(rows.scales, group, x.groups)
            product = Product(acc, n0, columns.stop - n0, factors, of_rows)
            mnemonic, reads, fields = product.source(b.M)
            target = replace(target, offset=target.offset + F32_BYTES * n0)
            fields |= {"dst": target.buffer.at(target.offset), "dstride": target.stride}
            low.builder.emit(mnemonic, reads, (target.buffer.access(),), fields=fields)
            if product.later:
                low.by_rows("vmul", target, target, product.cols, product.later)
