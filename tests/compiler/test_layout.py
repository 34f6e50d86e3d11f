"""Layouts of tensors in SRAM and of weights for the array."""

import numpy as np
import pytest

from compiler.graph import Constant, Graph, Op, Output, Source, Tensor
from compiler.layout import Layout, choose_layouts, physical_weights
from isa.config import load_config
from tests.support import rng

TINY = load_config("tiny")


def test_layout_pads_segments_to_vectors():
    layout = Layout(segments=3, width=5, lanes=8)
    assert (layout.padded_width, layout.token_elements, layout.token_bytes) == (8, 24, 96)
    assert not layout.dense
    np.testing.assert_array_equal(layout.place(np.array([0, 4, 5, 14])), [0, 4, 8, 20])


@pytest.mark.parametrize(
    ("layout", "view", "stride"),
    [
        (Layout(1, 20, 8), (1, 20), 96),  # one segment: its padding is behind the last element
        (Layout(4, 8, 8), (1, 32), 128),  # no gaps: any rows of whole vectors
        (Layout(4, 8, 8), (2, 16), 64),
        (Layout(4, 8, 8), (4, 8), 32),
        (Layout(4, 5, 8), (4, 5), 32),  # gaps between the segments
        (Layout(4, 5, 8), (1, 20), None),
        (Layout(1, 20, 8), (4, 5), None),
    ],
)
def test_rows_of_views(layout, view, stride):
    assert layout.row_bytes(*view) == stride


def graph_of(*ops: Op) -> Graph:
    return Graph("test", 16, (), ops, {}, {}, (), (Output("logits", ops[-1].output, 1),))


def test_views_share_the_narrowest_segment():
    x, flat, heads = Tensor("x", 1, 24), Tensor("q", 1, 24), Tensor("heads", 4, 6)
    source = (Source("n", "MatMul"),)
    ops = (
        Op("linear", (x, Constant("w")), flat, source),
        Op("view", (flat,), heads, source),
        Op("mul", (heads, heads), Tensor("square", 4, 6), source),
    )
    layouts = choose_layouts(graph_of(*ops), TINY)
    assert layouts["q"] == layouts["heads"] == layouts["square"] == Layout(4, 6, 8)
    assert layouts["x"] == Layout(1, 24, 8)


def test_weights_get_zeros_where_layouts_have_gaps():
    weights = rng(5).standard_normal((10, 12)).astype(np.float32)
    rows, cols = Layout(2, 5, 8), Layout(3, 4, 8)
    full = physical_weights(weights, rows, cols)
    assert full.shape == (13, 20)
    x = rng(6).standard_normal(10)
    spread = np.zeros(13)
    spread[rows.place(np.arange(10))] = x
    y = spread @ full
    np.testing.assert_allclose(y[cols.place(np.arange(12))], x @ weights.astype(np.float64))
    assert np.count_nonzero(full) == weights.size
