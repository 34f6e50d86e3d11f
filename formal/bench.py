"""Bench: the surroundings in which a unit is proved, and what is claimed of it."""

from amaranth.back import rtlil
from amaranth.hdl import (
    Assert,
    Assume,
    ClockDomain,
    Cover,
    Instance,
    Module,
    Signal,
    Value,
    ValueCastable,
)
from amaranth.lib import wiring

TOP = "bench"
SYMBOL = "symbol"  # cells of this type become `$anyconst` (see formal/solve.py)


class Bench:
    """A closed model for a solver: units, free inputs, assumptions and assertions.

    Every input of a unit that nothing drives is free: it may have any value in each cycle. There is
    no reset; registers begin with their initial values. `m` is the module for further logic.
    """

    def __init__(self) -> None:
        self.m = Module()
        self._domain = ClockDomain("sync", reset_less=True)
        self.m.domains += self._domain
        self._ports: dict[str, tuple[Value, None]] = {"clk": (self._domain.clk, None)}
        self.started = Signal()  # 0 in the first cycle only
        self.m.d.sync += self.started.eq(1)

    def add(self, name: str, unit: wiring.Component) -> wiring.Component:
        """Put a unit on the bench; its undriven inputs are free."""
        self.m.submodules[name] = unit
        for path, member, value in unit.signature.flatten(unit):
            if isinstance(value, ValueCastable):
                value = value.as_value()
            if isinstance(value, Value) and member.flow == wiring.In:
                self._ports["_".join([name, *(str(part) for part in path)])] = (value, None)
        return unit

    def free(self, name: str, shape: object = 1) -> Signal:
        """A signal of any value, another one in each cycle."""
        signal = Signal(shape, name=name)
        self._ports[name] = (Value.cast(signal), None)
        return signal

    def symbol(self, name: str, shape: object = 1) -> Signal:
        """A signal of any value, the same one in all cycles."""
        signal = Signal(shape, name=name)
        value = Value.cast(signal)
        self.m.submodules[f"{name}_symbol"] = Instance(SYMBOL, p_WIDTH=len(value), o_Y=value)
        return signal

    def past(self, value: Value) -> Signal:
        """The value of the cycle before; 0 in the first cycle."""
        value = Value.cast(value)
        signal = Signal(value.shape())
        self.m.d.sync += signal.eq(value)
        return signal

    def sticky(self, event: Value) -> Signal:
        """1 in all cycles after one in which ``event`` was."""
        signal = Signal()
        with self.m.If(event):
            self.m.d.sync += signal.eq(1)
        return signal

    def count(self, bits: int, up: Value = 0, down: Value = 0) -> Signal:
        """A counter that adds ``up`` and takes off ``down`` after each cycle (modulo 2^bits)."""
        signal = Signal(bits)
        self.m.d.sync += signal.eq(signal + up - down)
        return signal

    def assume(self, condition: Value) -> None:
        """Look only at runs in which the surroundings keep to ``condition`` in every cycle."""
        self.m.d.comb += Assume(condition, src_loc_at=1)

    def prove(self, condition: Value) -> None:
        """Claim that ``condition`` is true in every cycle of every such run."""
        self.m.d.comb += Assert(condition, src_loc_at=1)

    def reach(self, condition: Value) -> None:
        """Claim that some such run has a cycle with ``condition``: the assumptions allow it."""
        self.m.d.comb += Cover(condition, src_loc_at=1)

    def steady(self, valid: Value, ready: Value, payload: Value) -> Value:
        """The rule of a handshake: what was offered and not taken is offered still, unchanged."""
        refused = self.past(valid & ~ready)
        before = self.past(payload)
        return ~refused | (valid & (Value.cast(payload) == before))

    def rtlil(self) -> str:
        """The model as text for Yosys."""
        return rtlil.convert(self.m, name=TOP, ports=self._ports, platform=None)


def implies(condition: Value, consequence: Value) -> Value:
    """``condition`` → ``consequence``, both true when any bit is set."""
    return ~Value.cast(condition).any() | Value.cast(consequence).any()
