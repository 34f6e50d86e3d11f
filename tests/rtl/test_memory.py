"""The SRAM components in Amaranth's simulator; tests/tb/test_sram.py has the emitted macros."""

import random

import pytest

from rtl.memory import Sram1R1W, Sram1RW
from tb.sram_reference import Reference1R1W, Reference1RW, random_access, random_pair
from tests.support import simulate


def test_ports() -> None:
    sram = Sram1RW(24, 20, 8)
    assert (len(sram.we), len(sram.addr), len(sram.wdata), len(sram.rdata)) == (3, 5, 24, 24)
    assert len(Sram1RW(24, 20).we) == 1
    assert len(Sram1R1W(9, 2).raddr) == 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 8), "Sram1RW width must be an integer of at least 1, not 0"),
        ((8, 1), "Sram1RW depth must be an integer of at least 2, not 1"),
        ((8, 4, 0), "Sram1RW granule must be an integer of at least 1, not 0"),
        ((12, 4, 8), "Sram1RW width must be a multiple of granule 8, not 12"),
        ((8, 2.5), "Sram1RW depth must be an integer of at least 2, not 2.5"),
    ],
)
def test_rejects_sizes(sizes: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Sram1RW(*sizes)


def test_two_port_rejects_depth() -> None:
    with pytest.raises(ValueError, match=r"^Sram1R1W depth must be an integer .* not 1$"):
        Sram1R1W(8, 1)


def _agree(sram, twin, stimulus, *sizes: int) -> None:
    dice = random.Random(11)

    async def bench(ctx) -> None:
        for _ in range(800):
            ports = stimulus(dice, *sizes)
            for name, value in ports.items():
                ctx.set(getattr(sram, name), int(value))
            await ctx.tick()
            assert ctx.get(sram.rdata) == twin.cycle(**ports), ports
        assert [ctx.get(row) for row in sram.data] == [twin.rows.get(i, 0) for i in range(sizes[1])]

    simulate(sram, bench)


@pytest.mark.parametrize("sizes", [(32, 20, 8), (24, 16, 24), (7, 2, 1)])
def test_single_port_agrees_with_twin(sizes: tuple[int, int, int]) -> None:
    _agree(Sram1RW(*sizes), Reference1RW(*sizes), random_access, *sizes)


@pytest.mark.parametrize("sizes", [(33, 21), (8, 2)])
def test_two_ports_agree_with_twin(sizes: tuple[int, int]) -> None:
    _agree(Sram1R1W(*sizes), Reference1R1W(*sizes), random_pair, *sizes)
