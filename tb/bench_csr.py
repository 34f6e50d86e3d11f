"""Bench of the host's registers, driven by cocotbext-axi's AXI4-Lite master.

Parameter: `digest` of the configuration.
"""

import random

import cocotb
from cocotb.triggers import FallingEdge
from cocotbext.axi import AxiResp

from isa import csr
from isa.counters import COUNTER_BITS, COUNTERS, CYCLE_CLASSES, HBM_COUNTERS, HBM_LATENCIES
from isa.csr import BY_NAME, REGISTERS
from isa.table import Engine
from tb.coverage import Coverage
from tb.csr_host import access_point, begin
from tb.runner import bench_parameters

_WIDTHS = {"trap_pc": 32, "trap_where": 5, "trap_cause": 4, "trap_atom": 32}
_WIDTHS |= {"conflicts": COUNTER_BITS, "bus_errors": COUNTER_BITS}
CLASSES = [(engine, name) for engine in Engine for name in CYCLE_CLASSES]

cover = Coverage("csr")
access_point(cover)
cover.point("error", {"why": ["unknown", "read only", "running"]})
cover.point("strobes", {"bytes": ["all", "some"]})


def _idle_core(dut) -> None:
    for name in ("running", "halted", "trapped", "counters", "classes", "memory_counters"):
        getattr(dut, name).value = 0
    for name in ("cycles", *_WIDTHS):
        getattr(dut, name).value = 0


def _random_core(dut) -> dict[str, int]:
    """Give everything that the core reports a random value; returns what registers must say."""
    expected = _random_words(dut.counters, list(COUNTERS))
    expected |= _random_words(dut.classes, [csr.class_name(*place) for place in CLASSES])
    names = [csr.hbm_name(name) for name in (*HBM_COUNTERS, *HBM_LATENCIES)]
    expected |= _random_words(dut.memory_counters, names)
    for name, bits in _WIDTHS.items():
        expected[name] = random.getrandbits(bits)
        getattr(dut, name).value = expected[name]
    flags = [random.getrandbits(1) for _ in range(3)]
    for name, flag in zip(("running", "halted", "trapped"), flags, strict=True):
        getattr(dut, name).value = flag
    expected["status"] = sum(flag << bit for bit, flag in enumerate(flags))
    expected["trap_cause"] *= flags[2]
    return expected


def _random_words(port, names: list[str]) -> dict[str, int]:
    """Random counters at a port that has one behind the other."""
    words = [random.getrandbits(COUNTER_BITS) for _ in names]
    port.value = sum(word << COUNTER_BITS * index for index, word in enumerate(words))
    return dict(zip(names, words, strict=True))


@cocotb.test()
async def every_register_is_read(dut) -> None:
    """Each gives what the core reports; constants, and 0 of `control`."""
    _idle_core(dut)
    host = await begin(dut, "bus", 0.3, cover)
    digest = int(bench_parameters()["digest"], 16)
    for _ in range(6):
        expected = _random_core(dut)
        cycles = random.getrandbits(64)
        dut.cycles.value = cycles
        expected |= {"id": csr.ID, "version": csr.VERSION, "control": 0}
        expected |= {"config_low": digest & 0xFFFFFFFF, "config_high": digest >> 32}
        for name in random.sample(sorted(expected), len(expected)):
            assert await host.read(name) == expected[name], name
        assert await host.read("cycles_low") == cycles & 0xFFFFFFFF
        dut.cycles.value = random.getrandbits(64)
        assert await host.read("cycles_high") == cycles >> 32, "held"
    cover.save()


@cocotb.test()
async def written_registers_keep_their_bytes(dut) -> None:
    """Random words and strobes; only a core that stands still takes them."""
    _idle_core(dut)
    host = await begin(dut, "bus", 0.3, cover)
    written = {register.name: 0 for register in REGISTERS if register.access == "rw"}
    for _ in range(60):
        name = random.choice(list(written))
        start, length = random.choice([(0, 4), (0, 1), (1, 2), (3, 1), (0, 3)])
        cover.hit("strobes", "all" if length == 4 else "some")
        data = random.randbytes(length)
        running = random.random() < 0.2
        dut.running.value = running
        answer = await host.master.write(BY_NAME[name].offset + start, data)
        cover.hit("access", register=name, kind="write")
        if running:
            cover.hit("error", "running")
        else:
            old = bytearray(written[name].to_bytes(4, "little"))
            old[start : start + length] = data
            written[name] = int.from_bytes(old, "little")
        assert answer.resp == (AxiResp.SLVERR if running else AxiResp.OKAY)
        assert int(getattr(dut, name).value) == written[name]
        assert await host.read(name) == written[name]
    cover.save()


@cocotb.test()
async def start_is_a_pulse(dut) -> None:
    _idle_core(dut)
    host = await begin(dut, "bus", 0.0, cover)
    pulses = 0

    async def count():
        nonlocal pulses
        while True:
            await FallingEdge(dut.clk)
            pulses += int(dut.start.value)

    cocotb.start_soon(count())
    assert await host.write("control", csr.START) == AxiResp.OKAY
    assert await host.write("control", 0xFFFFFFFE) == AxiResp.OKAY
    await host.master.write(BY_NAME["control"].offset + 1, b"\x01\x01")
    dut.running.value = 1
    assert await host.write("control", csr.START) == AxiResp.SLVERR
    dut.running.value = 0
    for _ in range(5):
        await FallingEdge(dut.clk)
    assert pulses == 1
    cover.hit("strobes", "some")
    cover.save()


@cocotb.test()
async def what_is_not_there_answers_with_an_error(dut) -> None:
    """Unknown addresses; writes to what is read only."""
    _idle_core(dut)
    host = await begin(dut, "bus", 0.3, cover)
    known = {register.offset for register in REGISTERS}
    for offset in random.sample([o for o in range(0, 4096, 4) if o not in known], 20):
        assert (await host.master.read(offset, 4)).resp == AxiResp.SLVERR
        assert (await host.master.write(offset, bytes(4))).resp == AxiResp.SLVERR
    cover.hit("error", "unknown")
    for register in REGISTERS:
        if register.access == "ro":
            assert await host.write(register.name, 0xFFFFFFFF) == AxiResp.SLVERR
    cover.hit("error", "read only")
    cover.save()
