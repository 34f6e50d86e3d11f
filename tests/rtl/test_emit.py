"""Emission: names, errors, separately emitted modules, and the traps that it exists to avoid."""

import re

import pytest
from amaranth.hdl import Cat, ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.emit import emit, port_names, write_design
from rtl.memory import Sram1RW
from tb.runner import run_bench


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
    """Three `Adder`, each an instance of one module that is emitted once."""

    a: In(24)
    b: In(24)
    o: Out(24)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sums = [Signal(8, name=f"sum{i}") for i in range(3)]
        for i, o in enumerate(sums):
            ports = {
                "i_clk": ClockSignal(),
                "i_rst": ResetSignal(),
                "i_a": self.a.word_select(i, 8),
                "i_b": self.b.word_select(i, 8),
                "o_o": o,
            }
            m.submodules[f"cell{i}"] = Instance("adder", **ports)
        m.d.comb += self.o.eq(Cat(sums))
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
    with pytest.raises(ValueError, match=r"must have different names, not \['top', 'top'\]"):
        emit(Adders(), "top", extra=[("top", Adder())])


def test_text_is_systemverilog_and_repeats() -> None:
    text = emit(Inverted(), "inverted")
    assert "always_ff" in text
    assert "always @*" not in text
    assert "(*" not in text
    assert text == emit(Inverted(), "inverted")


def test_memory_is_a_macro() -> None:
    text = emit(Sram1RW(64, 65536), "big")
    assert "jx_sram #(" in text
    assert len(text) < 2000


def test_module_is_emitted_once() -> None:
    text = emit(Adders(), "adders", extra=[("adder", Adder())])
    assert text.count("module adder(") == 1
    assert text.count("adder cell") == 3


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
    extra = [("adder", Adder())]
    ran = run_bench(
        Adders(), "adders", "tests.rtl.bench_emit", simulator, testcase="pairs_add", extra=extra
    )
    assert ran == 1
