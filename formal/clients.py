"""What the multiplexers expect of a write client: assumed of theirs, proved of the real ones."""

from collections.abc import Callable

from amaranth.hdl import Cat, Signal, Value
from amaranth.lib import wiring

from formal.bench import Bench, implies


class WriteBursts:
    """The bursts of a `WriteClient`: beats come with their address or behind it, the next burst
    behind the last beat; what is offered stays. ``claim`` is the bench's `assume` or `prove`.

    ``asked``, ``beaten``: an address, a beat is taken; ``inside``: a burst is begun; ``finished``:
    all of it is taken in this cycle.
    """

    def __init__(
        self, bench: Bench, client: wiring.PureInterface, claim: Callable[[Value], None]
    ) -> None:
        request = client.request
        self.asked = request.valid & request.ready
        self.beaten = client.valid & client.ready
        sent, over = Signal(), Signal()  # of the present burst: address taken, last beat taken
        now_sent, now_over = sent | self.asked, over | (self.beaten & client.last)
        self.finished = now_sent & now_over
        bench.m.d.sync += [
            sent.eq(now_sent & ~self.finished),
            over.eq(now_over & ~self.finished),
        ]
        self.inside = sent | over | self.asked | self.beaten
        claim(implies(request.valid, ~sent))
        claim(implies(client.valid, ~over & (sent | request.valid)))
        claim(bench.steady(request.valid, request.ready, request.payload))
        payload = Cat(client.data, client.strb, client.last)
        claim(bench.steady(client.valid, client.ready, payload))
