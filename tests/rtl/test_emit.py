"""Emission: names, errors, separately emitted modules, and the traps that it exists to avoid."""

import gc
import re

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.emit import emit, port_names, write_design
from rtl.memory import Sram1RW
from rtl.platform import place
from tb.runner import run_bench
from tests.support import simulate


class Inverted(wiring.Component):
    """`o` is the inverse of a register that starts as 0xA5: a comb output without inputs."""

    o: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        register = Signal(8, init=0xA5)
        m.d.sync += register.eq(register)
        with m.Switch(register):
            with m.Case(0xA5):
                m.d.comb += self.o.eq(~register)
        return m


class Adder(wiring.Component):
    a: In(8)
    b: In(8)
    o: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.a + self.b)
        return m


class Adders(wiring.Component):
    """Three `Adder`, for SystemVerilog instances of one module that is emitted once."""

    a: In(24)
    b: In(24)
    o: Out(24)

    def __init__(self, module: str = "adder") -> None:
        self._module = module
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sums = []
        for i in range(3):
            inputs = {"a": self.a.word_select(i, 8), "b": self.b.word_select(i, 8)}
            sums.append(place(m, platform, f"cell{i}", self._module, Adder, inputs)["o"])
        m.d.comb += self.o.eq(Cat(sums))
        return m


class Tree(wiring.Component):
    """A placed component that places others."""

    a: In(24)
    b: In(24)
    o: Out(24)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inputs = {"a": self.a, "b": self.b}
        m.d.comb += self.o.eq(place(m, platform, "inner", "adders", Adders, inputs)["o"])
        return m


class Nested(wiring.Component):
    """Ports inside streams and arrays of streams."""

    i: In(stream.Signature(4))
    o: Out(stream.Signature(4).flip()).array(2)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(self.i.valid)
        return m


class Clashing(wiring.Component):
    """A stream's `payload` and a plain port have the same joined name."""

    i: In(stream.Signature(4))
    i_payload: In(4)

    def elaborate(self, platform: object) -> Module:
        return Module()


def test_names_have_single_underscores() -> None:
    names = port_names(Nested())
    assert {"i_payload", "i_valid", "i_ready", "o_0_payload", "o_1_ready"} <= set(names)
    text = emit(Nested(), "nested")
    header = re.search(r"module nested\((.*?)\);", text)
    assert header is not None
    assert "i_valid" in header[1]
    assert "__" not in header[1]


def test_rejects_clashing_names() -> None:
    with pytest.raises(ValueError, match=r"^two ports of Clashing are named 'i_payload'$"):
        emit(Clashing(), "top")


def test_rejects_equal_module_names() -> None:
    with pytest.raises(ValueError, match=r"^two emitted modules are named 'top'$"):
        emit(Adders("top"), "top")


def test_text_is_systemverilog_and_repeats() -> None:
    text = emit(Inverted(), "inverted")
    assert "always_ff" in text
    assert "always @*" not in text
    assert "(*" not in text
    assert text == emit(Inverted(), "inverted")


def test_garbage_is_collected_afterwards() -> None:
    with pytest.raises(ValueError, match="two ports"):
        emit(Clashing(), "top")
    assert gc.isenabled()


def test_memory_is_a_macro() -> None:
    text = emit(Sram1RW(64, 65536), "big")
    assert "jx_sram #(" in text
    assert len(text) < 2000


def test_placed_modules_are_emitted_once() -> None:
    text = emit(Tree(), "tree")
    modules = re.findall(r"^module (\w+)\(", text, re.MULTILINE)
    assert sorted(modules) == ["adder", "adders", "tree"]
    assert text.count("adder cell") == 3


def test_placed_components_simulate_natively() -> None:
    dut = Tree()

    async def bench(ctx):
        ctx.set(dut.a, 0x01FF80)
        ctx.set(dut.b, 0x0202FF)
        await ctx.tick()
        assert ctx.get(dut.o) == 0x03017F

    simulate(dut, bench)


def test_writes_design_and_macros(tmp_path) -> None:
    paths = write_design(Sram1RW(8, 4), "ram", tmp_path / "deep" / "er")
    assert [path.name for path in paths] == ["sram.sv", "ram.sv"]
    assert "module jx_sram_1r1w" in paths[0].read_text()
    with pytest.raises(ValueError, match="must not be named 'sram'"):
        write_design(Sram1RW(8, 4), "sram", tmp_path)


def test_known_at_time_zero(simulator: str) -> None:
    bench = "tests.rtl.bench_emit"
    case = "known_before_the_clock"
    assert run_bench(Inverted(), "inverted", bench, simulator, testcase=case) == 1


def test_instances_of_one_module(simulator: str) -> None:
    bench = "tests.rtl.bench_emit"
    assert run_bench(Tree(), "tree", bench, simulator, testcase="pairs_add") == 1
