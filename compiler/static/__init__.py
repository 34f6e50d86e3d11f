"""Graphs of tensors of fixed shapes: a general path beside that of language models.

Every tensor is fp32 in HBM, row by row. An operator becomes a few programs of four kinds:
element-wise arithmetic on vectors, reductions of rows, products, and movements by an index array;
operators that the standard defines by others are replaced by those.
"""
