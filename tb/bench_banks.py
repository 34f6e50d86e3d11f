"""Bench of the banked SRAM: random accesses of all clients against one array of bytes.

Parameters: `config` (of `ChipConfig.to_dict`), `cycles`, `idle` (probability of a pause).
"""

import random

import cocotb

from isa.config import ChipConfig
from rtl.sram import CLIENTS, WRITERS
from tb.agents import Ports, cycle, reset, state_of
from tb.coverage import Coverage
from tb.runner import bench_parameters
from tb.sram_reference import bank_of

_FEW_LINES = 8  # where half of all accesses go, so that they meet


class Client:
    """Reads or writes random lines; a refused access stays. `expected` is the memory's content."""

    def __init__(self, dut, name: str, config: ChipConfig, expected: bytearray, idle: float):
        self.ports, self.writes = Ports(dut, name), name in WRITERS
        self.config, self.expected, self.pause = config, expected, idle
        self.offer: dict[str, int] | None = None
        self.due: int | None = None  # what the data must be in this cycle
        self.state = "none"

    def idle(self) -> None:
        for member in ("valid", "addr", *(("mask", "data") if self.writes else ())):
            self.ports.set(member, 0)

    def drive(self) -> None:
        if self.offer is None and random.random() >= self.pause:
            lines = random.choice([_FEW_LINES, self.config.sram_lines])
            self.offer = {"addr": random.randrange(lines)}
            if self.writes:
                mask, data = self.ports.width("mask"), self.ports.width("data")
                picked = random.choice([(1 << mask) - 1, random.getrandbits(mask)])
                self.offer |= {"mask": picked, "data": random.getrandbits(data)}
        self.ports.set("valid", self.offer is not None)
        for member, value in (self.offer or {}).items():
            self.ports.set(member, value)

    @property
    def bank(self) -> int | None:
        """The bank wanted in this cycle."""
        return None if self.offer is None else bank_of(self.offer["addr"], self.config.sram_banks)

    def sample(self) -> None:
        """Only looks; `finish` executes what was accepted, in the order of all clients."""
        self.state = state_of(self.offer is not None, self.ports.get("ready"))
        if self.due is not None:
            assert self.ports.get("data") == self.due, f"{self.ports.name}: a wrong line"
            self.due = None

    def finish(self) -> None:
        if self.state != "taken":
            return
        size, offer = self.config.line_bytes, self.offer
        start = offer["addr"] * size
        if self.writes:
            granule, raw = size // self.ports.width("mask"), offer["data"].to_bytes(size, "little")
            for index in range(self.ports.width("mask")):
                if offer["mask"] >> index & 1:
                    place = start + index * granule
                    self.expected[place : place + granule] = raw[index * granule :][:granule]
        else:
            self.due = int.from_bytes(self.expected[start : start + size], "little")
        self.offer = None


@cocotb.test()
async def random_accesses(dut) -> None:
    """Who is refused follows from priority and banks alone; reads return what was written last."""
    sizes = bench_parameters()
    config = ChipConfig.from_dict(sizes["config"], "bench")
    cover = Coverage("banks")
    for winner, first in enumerate(CLIENTS[:-1]):
        cover.point(f"{first} before", {"refused": CLIENTS[winner + 1 :]})
    cover.point("at once", {"banks": ("none", "one", "some", "all")})
    cover.point("read after write", {"writer": WRITERS, "cycles": (1, 2)})
    expected = bytearray(config.sram_bytes)
    clients = [Client(dut, name, config, expected, sizes["idle"]) for name in CLIENTS]
    await reset(dut, clients, noise=0)  # which would write: a reset leaves memory as it is
    written: dict[int, tuple[int, str]] = {}
    for now in range(sizes["cycles"]):
        await cycle(dut, clients)
        _check_grants(cover, config, clients)
        refusals = [client for client in clients if client.state == "refused"]
        assert int(dut.refused.value) == bool(refusals)
        for client in clients:
            if client.state == "taken" and not client.writes:
                when, writer = written.get(client.offer["addr"], (0, ""))
                if writer and now - when <= 2:
                    cover.hit("read after write", writer, now - when)
        for name, client in zip(CLIENTS, clients, strict=True):
            if client.state == "taken" and client.writes:
                written[client.offer["addr"]] = now, name
            client.finish()
    cover.save()


def _check_grants(cover: Coverage, config: ChipConfig, clients: list[Client]) -> None:
    """The first client that wants a bank gets it; every other one is refused."""
    owners: dict[int, str] = {}
    for name, client in zip(CLIENTS, clients, strict=True):
        if client.bank is None:
            continue
        owner = owners.setdefault(client.bank, name)
        assert client.state == ("taken" if owner == name else "refused"), f"{name}: {client.state}"
        if owner != name:
            cover.hit(f"{owner} before", name)
    names = {0: "none", 1: "one", config.sram_banks: "all"}
    cover.hit("at once", names.get(len(owners), "some"))
