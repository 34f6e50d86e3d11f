"""Memories behind the core's internal memory clients, for Amaranth's simulator.

Each cycle: `drive`, then, once outputs have settled, `sample`, then the clock edge. They check the
rules that bursts must keep, and stall at random.
"""

import random

PAGE_BYTES = 4096


class ReadModel:
    """Answers a `ReadClient` from `memory`; `most` counts the most bursts seen in flight."""

    def __init__(self, client, memory: bytes, beat_bytes: int, latency: int, stall: float) -> None:
        self.client, self.memory, self.beat_bytes = client, memory, beat_bytes
        self.latency, self.stall = latency, stall
        self.dice = random.Random(latency)
        self.queue: list[list[int]] = []  # [address, beats left, cycle from which they come]
        self.cycle = self.most = self.bursts = 0

    def drive(self, ctx) -> None:
        client = self.client
        ctx.set(client.request.ready, self.dice.random() >= self.stall)
        ready = bool(self.queue) and self.queue[0][2] <= self.cycle
        ready = ready and self.dice.random() >= self.stall
        ctx.set(client.valid, ready)
        if ready:
            address, beats, _ = self.queue[0]
            data = self.memory[address : address + self.beat_bytes]
            ctx.set(client.data, int.from_bytes(data, "little"))
            ctx.set(client.last, beats == 1)

    def sample(self, ctx) -> None:
        client = self.client
        if ctx.get(client.valid) and ctx.get(client.ready):
            self.queue[0][0] += self.beat_bytes
            self.queue[0][1] -= 1
            if self.queue[0][1] == 0:
                self.queue.pop(0)
        if ctx.get(client.request.valid) and ctx.get(client.request.ready):
            address, beats = _burst(ctx, client.request.payload, self.beat_bytes)
            self.queue.append([address, beats, self.cycle + self.latency])
            self.most = max(self.most, len(self.queue))
            self.bursts += 1
        self.cycle += 1


class WriteModel:
    """Puts what a `WriteClient` writes into `memory`; acknowledges after `latency` cycles.

    `most` counts the most bursts seen whose address or first beat was taken, without a response.
    """

    def __init__(self, client, memory: bytearray, beat_bytes: int, latency: int, stall: float):
        self.client, self.memory, self.beat_bytes = client, memory, beat_bytes
        self.latency, self.stall = latency, stall
        self.dice = random.Random(latency)
        self.addresses: list[list[int]] = []  # [address, beats left]
        self.beats: list[tuple[int, int, int]] = []  # (data, strobes, last)
        self.responses: list[int] = []
        self.cycle = self.most = 0
        self.asked = self.begun = self.answered = 0  # bursts: addresses, first beats, responses
        self.between = True  # the next beat is a first one

    def drive(self, ctx) -> None:
        ctx.set(self.client.request.ready, self.dice.random() >= self.stall)
        ctx.set(self.client.ready, self.dice.random() >= self.stall)
        respond = bool(self.responses) and self.responses[0] <= self.cycle
        ctx.set(self.client.response, respond)
        self.answered += respond
        if respond:
            self.responses.pop(0)

    def sample(self, ctx) -> None:
        client = self.client
        if ctx.get(client.request.valid) and ctx.get(client.request.ready):
            self.addresses.append(list(_burst(ctx, client.request.payload, self.beat_bytes)))
            self.asked += 1
        if ctx.get(client.valid) and ctx.get(client.ready):
            beat = client.data, client.strb, client.last
            self.beats.append(tuple(ctx.get(part) for part in beat))
            self.begun += self.between
            self.between = bool(self.beats[-1][-1])
        self.most = max(self.most, max(self.asked, self.begun) - self.answered)
        while self.addresses and self.beats:
            self._write(*self.beats.pop(0))
        self.cycle += 1

    def _write(self, data: int, strobes: int, last: int) -> None:
        address, left = self.addresses[0]
        for index, byte in enumerate(data.to_bytes(self.beat_bytes, "little")):
            if strobes >> index & 1:
                self.memory[address + index] = byte
        assert last == (left == 1), "the last beat of a burst, and no other, must be marked"
        self.addresses[0] = [address + self.beat_bytes, left - 1]
        if left == 1:
            self.addresses.pop(0)
            self.responses.append(self.cycle + self.latency)


def _burst(ctx, payload, beat_bytes: int) -> tuple[int, int]:
    """Address and beats of a request, whose alignment and page are checked."""
    address, beats = ctx.get(payload.addr), ctx.get(payload.len) + 1
    assert address % beat_bytes == 0
    assert address % PAGE_BYTES + beats * beat_bytes <= PAGE_BYTES, "a burst crosses 4 KiB"
    return address, beats
