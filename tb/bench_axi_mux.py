"""Bench of the memory port's multiplexers behind an AXI memory that reorders and stalls.

Parameters: `config` (of `ChipConfig.to_dict`), `bursts` of each client, `stall`; `testcase` says
which multiplexer.
"""

import random

import cocotb

from isa.config import ChipConfig
from rtl.axi import ADDRESS_BITS, READ_IDS, WRITE_IDS
from tb.agents import STATES, cycle, reset
from tb.axi_clients import PERIOD, Reader, Writer, random_bursts
from tb.axi_memory import AxiMemory
from tb.axi_rules import AxiRules
from tb.coverage import Coverage
from tb.runner import bench_parameters

_LIMIT = 200_000  # cycles


def _check_addresses(asked: list, wanted: dict[str, list[int]], names: tuple[str, ...]) -> None:
    """Whole addresses: the memory itself knows the lower bits only."""
    for index, name in enumerate(names):
        assert [address for identity, address in asked if identity == index] == wanted[name]


@cocotb.test()
async def reads(dut) -> None:
    """Every client gets its beats, in the order in which it asked, whatever the others do."""
    sizes = bench_parameters()
    config, stall = ChipConfig.from_dict(sizes["config"], "bench"), sizes["stall"]
    memory = bytearray(random.randbytes(PERIOD))
    cover = Coverage("read_mux")
    cover.point("requests at once", dict.fromkeys(READ_IDS, (0, 1)))
    cover.point("beat", {"client": READ_IDS, "is": STATES[1:]})
    cover.point("beats in turn", {"before": READ_IDS, "after": READ_IDS})
    clients = {}
    for name in READ_IDS:
        bursts = random_bursts(config, sizes["bursts"], 0, PERIOD)
        clients[name] = Reader(dut, name, bursts, bytes(memory), config.axi_bytes, stall)
    axi = AxiMemory(dut, memory, config.axi_bytes, stall, latency=5)
    axi.limit = 1 << ADDRESS_BITS
    axi.prepare()
    rules = AxiRules(dut, config)
    agents = list(clients.values())
    await reset(dut, agents)
    cocotb.start_soon(axi.run())
    last = None
    for _ in range(_LIMIT):
        await cycle(dut, [*agents, rules])
        cover.hit("requests at once", *(int(c.source.state != "none") for c in agents))
        if not int(dut.axi_arvalid.value) and any(c.source.offered for c in agents):
            assert any(c.source.state == "taken" for c in agents), "the register is free"
        busy = [(name, client) for name, client in clients.items() if client.state != "none"]
        assert len(busy) <= 1, "a beat belongs to one client"
        for name, client in busy:
            cover.hit("beat", name, client.state)
            if client.state == "taken":
                if last is not None:
                    cover.hit("beats in turn", last, name)
                last = name
        if not any(c.source.queue or c.due for c in agents):
            break
    assert not any(c.source.queue or c.due for c in agents), "beats are missing"
    _check_addresses(axi.asked["ar"], {name: c.addresses for name, c in clients.items()}, READ_IDS)
    cover.save()


@cocotb.test()
async def writes(dut) -> None:
    """Bursts of both clients arrive whole; each client hears of its own, once for each."""
    sizes = bench_parameters()
    config, stall = ChipConfig.from_dict(sizes["config"], "bench"), sizes["stall"]
    memory, expected = bytearray(PERIOD), bytearray(PERIOD)
    cover = Coverage("write_mux")
    cover.point("beats", dict.fromkeys(WRITE_IDS, STATES), {("taken", "taken"): "one port"})
    cover.point("requests", dict.fromkeys(WRITE_IDS, STATES), {("taken", "taken"): "one port"})
    cover.point("bursts in turn", {"before": WRITE_IDS, "after": WRITE_IDS})
    writers, half = {}, PERIOD // 2
    for index, name in enumerate(WRITE_IDS):
        bursts = random_bursts(config, sizes["bursts"], index * half, half)
        writers[name] = Writer(dut, name, bursts, expected, config.axi_bytes, stall)
    axi = AxiMemory(dut, memory, config.axi_bytes, stall, latency=5)
    axi.limit = 1 << ADDRESS_BITS
    axi.prepare()
    rules = AxiRules(dut, config)
    agents, last = list(writers.values()), None
    await reset(dut, agents)
    cocotb.start_soon(axi.run())
    for _ in range(_LIMIT):
        await cycle(dut, [*agents, rules])
        cover.hit("beats", *(writer.state for writer in agents))
        cover.hit("requests", *(writer.source.state for writer in agents))
        for name, writer in writers.items():
            if writer.source.state == "taken":
                if last is not None:
                    cover.hit("bursts in turn", last, name)
                last = name
        if not any(writer.pending for writer in agents):
            break
    assert not any(writer.pending for writer in agents), "responses are missing"
    assert memory == expected
    _check_addresses(axi.asked["aw"], {n: w.addresses for n, w in writers.items()}, WRITE_IDS)
    cover.save()
