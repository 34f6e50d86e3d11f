"""Arithmetic that lays itself out in pipeline stages.

A formula written with ordinary operators becomes hardware whose products end in a register: each
number knows the stage in which it is valid, and whoever joins numbers of different stages delays
the earlier one. Equal subexpressions are built once.
"""

import operator
from collections.abc import Callable

from amaranth.hdl import Const, Module, Mux, Signal, Value


class Pipeline:
    """Owns the registers in front of its stages.

    ``enables[i]`` lets what stage i holds pass on into stage i + 1. Numbers are unsigned and grow
    with each operation, so that nothing is ever lost.
    """

    def __init__(self, m: Module, enables: list[Value]) -> None:
        self._m, self._enables = m, enables
        self._made: dict[tuple, Number] = {}
        self._numbers = 0

    def number(self, value: Value, stage: int | None = 0) -> "Number":
        """A value of ``stage``; None: it does not change while the pipeline is in use."""
        self._numbers += 1
        return Number(self, value, stage, self._numbers)

    def once(self, key: tuple, make: Callable[[], "Number"]) -> "Number":
        """What ``make`` gave for this key the first time."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def wire(self, value: Value, stage: int | None) -> "Number":
        """A number of its own signal: it may be used more than once."""
        named = Signal(len(value), name=f"number_{self._numbers}")
        self._m.d.comb += named.eq(value)
        return self.number(named, stage)

    def passed(self, value: Value, stage: int) -> "Number":
        """``value``, which belongs to ``stage``, behind the next register."""
        held = Signal(len(value), name=f"stage_{stage + 1}_{self._numbers}", reset_less=True)
        with self._m.If(self._enables[stage]):
            self._m.d.sync += held.eq(value)
        return self.number(held, stage + 1)


class Number:
    """An unsigned value of one stage. Operands may also be Python's integers of at least 0."""

    def __init__(self, pipeline: Pipeline, value: Value, stage: int | None, serial: int) -> None:
        self.pipeline, self.value, self.stage, self.serial = pipeline, value, stage, serial

    def at(self, stage: int | None) -> Value:
        """The value as ``stage``, its own or a later one, sees it."""
        if self.stage is None or self.stage == stage:
            return self.value
        if stage is None or self.stage > stage:
            raise ValueError(f"a number of stage {self.stage} is not known in stage {stage}")
        earlier = self.at(stage - 1)
        key = ("delay", self.serial, stage)
        return self.pipeline.once(key, lambda: self.pipeline.passed(earlier, stage - 1)).value

    def _join(self, name: str, other: "Number | int", make: Callable) -> "Number":
        """Apply ``make`` to the values of both in the later one's stage."""

        def joined() -> Number:
            stage = _later(self, other)
            return self.pipeline.wire(make(self.at(stage), _at(other, stage)), stage)

        return self.pipeline.once((name, *_keys(self, other)), joined)

    def __add__(self, other: "Number | int") -> "Number":
        return self._join("+", other, operator.add)

    def __mul__(self, other: "Number | int") -> "Number":
        if isinstance(other, int):
            if other > 0 and other & (other - 1) == 0:
                shift = other.bit_length() - 1
                return self._join("*", other, lambda a, _: a.shift_left(shift))
            return self._join("*", other, operator.mul)

        def product() -> Number:
            stage = _later(self, other)
            if stage is None:
                raise ValueError("one factor of a product must belong to a stage")
            return self.pipeline.passed(self.at(stage) * other.at(stage), stage)

        return self.pipeline.once(("*", *_keys(self, other)), product)

    def __rshift__(self, places: int) -> "Number":
        return self._join(">>", places, lambda a, _: a.shift_right(places))

    def __and__(self, other: "Number | int") -> "Number":
        return self._join("&", other, operator.and_)

    def __eq__(self, other: "Number | int") -> "Number":
        return self._join("==", other, operator.eq)

    def __lt__(self, other: "Number | int") -> "Number":
        return self._join("<", other, operator.lt)

    def __gt__(self, other: "Number | int") -> "Number":
        return self._join(">", other, operator.gt)

    def __ge__(self, other: "Number | int") -> "Number":
        return self._join(">=", other, operator.ge)

    def __ne__(self, other: "Number | int") -> "Number":
        return self._join("!=", other, operator.ne)

    def __bool__(self) -> bool:
        raise TypeError("the value of a hardware number is not known while it is built")

    def less_one(self) -> "Number":
        """The value less one, in as many bits: of 0 all ones."""
        return self._join("-", 1, lambda a, b: (a - b)[: len(a)])


def select(condition: Number | int, one: Number | int, other: Number | int) -> Number | int:
    """``one`` where ``condition`` holds, else ``other``."""
    if not isinstance(condition, Number):
        return one if condition else other

    def choice() -> Number:
        stage = _later(condition, one, other)
        value = Mux(condition.at(stage), _at(one, stage), _at(other, stage))
        return condition.pipeline.wire(value, stage)

    return condition.pipeline.once(("select", *_keys(condition, one, other)), choice)


def _later(*numbers: Number | int) -> int | None:
    """The last of their stages; None if all are constants."""
    stages = [n.stage for n in numbers if isinstance(n, Number) and n.stage is not None]
    return max(stages, default=None)


def _at(number: Number | int, stage: int | None) -> Value:
    return number.at(stage) if isinstance(number, Number) else Const(int(number))


def _keys(*numbers: Number | int) -> tuple:
    """Hashable stand-ins: a number's serial, an integer as itself."""
    return tuple(("n", n.serial) if isinstance(n, Number) else int(n) for n in numbers)
