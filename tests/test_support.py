"""The tests' own vocabulary: streams keep order under stalls, and what hangs is ended."""

import pytest
from amaranth.lib.fifo import SyncFIFOBuffered

from tests.support import put, rng, simulate, take


@pytest.mark.parametrize(
    ("put_stall", "take_stall"), [(0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.5, 0.5)]
)
def test_streams_keep_order(put_stall: float, take_stall: float) -> None:
    fifo = SyncFIFOBuffered(width=8, depth=3)
    sent = [int(value) for value in rng(5).integers(0, 256, 60)]
    received = []

    async def source(ctx) -> None:
        await put(ctx, fifo.w_stream, sent, stall=put_stall, seed=1)

    async def sink(ctx) -> None:
        received.extend(await take(ctx, fifo.r_stream, len(sent), stall=take_stall, seed=2))

    simulate(fifo, source, sink)
    assert received == sent


def test_a_hanging_bench_is_ended() -> None:
    fifo = SyncFIFOBuffered(width=8, depth=3)

    async def sink(ctx) -> None:
        await take(ctx, fifo.r_stream, 1)

    with pytest.raises(AssertionError, match="still running after 50 cycles"):
        simulate(fifo, sink, limit=50)
