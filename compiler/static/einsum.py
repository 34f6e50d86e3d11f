"""Einsum: operands are multiplied two at a time, as matrices."""

import math
from collections.abc import Sequence

import numpy as np

from compiler.static.node import Node
from compiler.static.product import product
from compiler.static.reduce import reduce_rows, rows_of
from compiler.static.values import Value, is_integer, moved, origins, whole

Labels = tuple[str, ...]
Term = tuple[Value, Labels]


def einsum(node: Node) -> list[Value]:
    """Any equation, with ellipsis, repeated labels, and without an arrow."""
    values = node.values()
    texts, wanted = _parsed(node, [len(value.shape) for value in values])
    sizes: dict[str, int] = {}
    for value, labels in zip(values, texts, strict=True):
        for label, size in zip(labels, value.shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    terms = [_diagonal(v, labels, sizes) for v, labels in zip(values, texts, strict=True)]
    current, *rest = terms
    for number, other in enumerate(rest):
        later = {label for _, labels in rest[number + 1 :] for label in labels}
        current = _joined(node, current, other, later | set(wanted))
    value, labels = _summed(node, current, set(wanted))
    return [moved(value, lambda x: x.transpose([labels.index(each) for each in wanted]))]


def _parsed(node: Node, ranks: Sequence[int]) -> tuple[list[Labels], Labels]:
    """Labels of each operand and of the result; an ellipsis stands for labels "0", "1", …"""
    text = str(node.attribute("equation")).replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(ranks):
        raise node.state.refuse(f"{len(ranks)} operands for the equation {text}")
    operands = []
    for part, rank in zip(parts, ranks, strict=True):
        named = part.replace("...", "")
        hidden = [str(i) for i in reversed(range(rank - len(named)))]
        operands.append(_spelled(part, hidden))
    most = max((sum(each.isdigit() for each in labels) for labels in operands), default=0)
    hidden = [str(i) for i in reversed(range(most))]
    if not arrow:
        every = [label for labels in operands for label in labels if not label.isdigit()]
        right = "..." + "".join(sorted(each for each in set(every) if every.count(each) == 1))
    return operands, _spelled(right, hidden)


def _spelled(part: str, hidden: Sequence[str]) -> Labels:
    before, dots, behind = part.partition("...")
    return (*before, *(hidden if dots else ()), *behind)


def _diagonal(value: Value, labels: Labels, sizes: dict[str, int]) -> Term:
    """Each label once, and of its full size."""
    single = tuple(dict.fromkeys(labels))
    names = {label: number for number, label in enumerate(single)}

    def change(x: np.ndarray) -> np.ndarray:
        x = np.broadcast_to(x, [sizes[label] for label in labels])
        return np.einsum(x, [names[label] for label in labels], list(range(len(single))))

    return moved(value, change), single


def _summed(node: Node, term: Term, kept: set[str]) -> Term:
    """Without the labels that nobody needs."""
    value, labels = term
    axes = tuple(i for i, label in enumerate(labels) if label not in kept)
    if not axes:
        return term
    if is_integer(value.elem_type):
        raise node.state.refuse("sums of integers in an equation")
    source, rows, cols = rows_of(node, value, axes)
    made = reduce_rows(node.state, source, rows, cols, "vsum")
    left = tuple(label for label in labels if label in kept)
    shape = tuple(n for i, n in enumerate(value.shape) if i not in axes)
    return whole(made, shape, value.elem_type, origins([value])), left


def _joined(node: Node, a: Term, b: Term, kept: set[str]) -> Term:
    """The product, summed over labels of both that nobody needs later."""
    a = _summed(node, a, kept | set(b[1]))
    b = _summed(node, b, kept | set(a[1]))
    both = [label for label in a[1] if label in b[1]]
    batch, depth = ([x for x in both if (x in kept) is wanted] for wanted in (True, False))
    free_a, free_b = ([x for x in t[1] if x not in both] for t in (a, b))
    sizes = dict(zip(a[1], a[0].shape, strict=True)) | dict(zip(b[1], b[0].shape, strict=True))

    def matrix(term: Term, *groups: list[str]) -> Value:
        order = [term[1].index(label) for group in groups for label in group]
        shape = [math.prod(sizes[label] for label in group) for group in groups]
        return moved(term[0], lambda x: x.transpose(order).reshape(shape))

    left, right = matrix(a, batch, free_a, depth), matrix(b, batch, depth, free_b)
    made = product(node.state, left, right, a[0].elem_type)
    labels = (*batch, *free_a, *free_b)
    return moved(made, lambda x: x.reshape([sizes[label] for label in labels])), labels
