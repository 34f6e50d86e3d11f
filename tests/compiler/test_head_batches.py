"""How heads are parted into products and batches."""

import pytest

from compiler.head_batches import fits, head_batches
from isa.config import load_config

SMALL, SERVER = load_config("small"), load_config("server")


def shapes(*given, alone: bool = False) -> list[tuple[int, int, int]]:
    return [(b.first, b.count, b.shared) for b in head_batches(*given, alone)]


def test_heads_of_one_key_head_share_a_product():
    assert shapes((4, 2), 32, (16, 128), SMALL) == [(0, 2, 2), (2, 2, 2)]
    assert shapes((6, 1), 32, (1, 128), SMALL) == [(0, 6, 6)]
    assert shapes((4, 4), 32, (1, 128), SMALL) == [(0, 2, 1), (2, 2, 1)]


def test_heads_alone():
    assert shapes((4, 2), 32, (16, 128), SMALL, alone=True) == [(0, 2, 1), (2, 2, 1)]


def test_as_many_as_half_the_accumulators_hold():
    # 128 tokens, 1024 keys in 8 panels: 1024 of 2048 rows a head.
    assert shapes((32, 8), 128, (128, 1024), SERVER)[0] == (0, 2, 2)
    assert fits(2, 128, (128, 1024), SERVER)
    assert not fits(4, 128, (128, 1024), SERVER)


def test_batches_take_an_eighth_of_the_sram():
    # A head's scores and weights: 64 · 1024 · 6 bytes, 393 KB; an eighth of the SRAM holds 5 heads.
    assert shapes((32, 8), 128, (64, 1024), SERVER) == [(i, 4, 4) for i in range(0, 32, 4)]


@pytest.mark.parametrize("heads", [(1, 1), (9, 3), (14, 2), (32, 8), (71, 1)])
@pytest.mark.parametrize("rows", [(1, 64), (8, 1000), (128, 2048)])
def test_every_head_once(heads, rows):
    seen = []
    for batch in head_batches(heads, 64, rows, SERVER, False):
        for product in batch.products():
            numbers = [batch.first + head for head in product]
            assert len({n // (heads[0] // heads[1]) for n in numbers}) == 1
            seen += numbers
    assert seen == list(range(heads[0]))
