"""Legality: checks instructions with resolved operands, in program order, against `isa.legal`."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.legal import rules
from isa.rules import BINARY, Rule
from isa.table import INSTRUCTIONS, OPCODE_BITS, Engine
from isa.traps import CAUSE_BITS, WHERE_BITS, Cause
from rtl.decode import (
    CHOICE_BITS,
    CHOICES,
    FORMATS,
    OPERANDS,
    PORTS,
    VALUE_BITS,
    field_values,
    opcode_of,
)
from rtl.divide import Divider
from rtl.semaphore import GUARDS
from rtl.staged import Number, Pipeline, select
from rtl.timing import CHECK_STAGES, DIVIDE_CYCLES

_CHECKED_SCALARS = ("ld", "st")
_CHECK, _MULTIPLIED = 0, 1  # stages of the formulas; the third holds their result


class Issue(wiring.Signature):
    """An instruction on its way from the decoder to its engine.

    Members
    -------
    valid, ready : handshake; the others stay while `valid` waits for `ready`
    pc, engine, opcode, guards : the instruction
    operands, choices : its fields, resolved (see `rtl.decode.Decoder`)
    serial : the sequencer executes it behind the check, and does nothing else meanwhile
    cause, where : `isa.traps.Cause` of the first fault found so far, and its place
    """

    def __init__(self):
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "pc": Out(32),
                "engine": Out(Engine),
                "opcode": Out(OPCODE_BITS),
                "guards": Out(GUARDS),
                "operands": Out(VALUE_BITS).array(PORTS),
                "choices": Out(CHOICE_BITS),
                "serial": Out(1),
                "cause": Out(CAUSE_BITS),
                "where": Out(WHERE_BITS),
            }
        )


class LegalityCheck(wiring.Component):
    """Finds an instruction's first fault: of an operand's register, or one that `isa.legal` names.

    Latency: 3 cycles (operands | products | comparisons). Throughput: 1 instruction a cycle; only a
    binary vector instruction whose rows of b repeat takes 17 cycles more, for a division.
    Back-pressure: bubbles are filled.

    Members
    -------
    i, o : instructions; a fault that `i` brings is not looked behind
    memory_atoms : size of the program's memory in atoms, stable while instructions are under way
    clear : forgets what is under way
    busy : something is under way that `o` does not offer yet
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "i": In(Issue()),
                "o": Out(Issue()),
                "memory_atoms": In(32),
                "clear": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        held = [Issue().create(path=(f"stage_{index}",)) for index in range(CHECK_STAGES - 1)]
        steps = [self.i, *held, self.o]
        division = self._divide(m, held[0])
        hold = [0, division.valid & ~division.done, 0]
        for index, (step, behind) in enumerate(pairwise(steps)):
            self._advance(m, step, behind, hold[index])
        m.d.comb += [
            self.busy.eq(held[0].valid | held[1].valid),
            division.clear.eq((held[0].valid & held[0].ready) | self.clear),
        ]
        pipeline = Pipeline(m, [held[0].ready, held[1].ready])
        faults = [
            self._faults(m, engine, _Signals(pipeline, engine, held[0], division, self), held)
            for engine in FORMATS
        ]
        cause, where = (_either(part) for part in zip(*faults, strict=True))
        earlier = held[1].cause != Cause.NONE
        with m.If(held[1].ready):
            m.d.sync += [
                self.o.cause.eq(Mux(earlier, held[1].cause, cause)),
                self.o.where.eq(Mux(earlier, held[1].where, where)),
            ]
        return m

    def _advance(self, m, step, behind, hold):
        """Registers from one step to the next; ``hold`` keeps the instruction where it is."""
        m.d.comb += step.ready.eq((~behind.valid | behind.ready) & ~hold)
        with m.If(self.clear):
            m.d.sync += behind.valid.eq(0)
        with m.Elif(~behind.valid | behind.ready):
            m.d.sync += behind.valid.eq(step.valid & ~hold)
        with m.If(step.ready):
            for name in ("pc", "engine", "opcode", "choices", "serial"):
                m.d.sync += getattr(behind, name).eq(getattr(step, name))
            m.d.sync += behind.guards.eq(step.guards)
            m.d.sync += [behind.operands[port].eq(step.operands[port]) for port in range(PORTS)]
            if behind is not self.o:
                m.d.sync += [behind.cause.eq(step.cause), behind.where.eq(step.where)]

    def _divide(self, m, entry):
        """The row of b that a vector instruction's last row reads."""
        f = field_values(Engine.VECTOR, entry.operands, entry.choices)
        (bt,) = (choice for choice in CHOICES[Engine.VECTOR] if choice.name == "bt")
        binary = Cat(entry.opcode == opcode_of(mnemonic) for mnemonic in BINARY).any()
        memory = f["bt"] != bt.values.index("scalar")
        m.submodules.divider = divider = Divider(DIVIDE_CYCLES)
        m.d.comb += [
            divider.valid.eq(entry.valid & binary & memory & (f["rep"] > 1) & (f["bstride"] != 0)),
            divider.dividend.eq(f["rows"] - 1),
            divider.divisor.eq(f["rep"]),
        ]
        return divider

    def _faults(self, m, engine, signals, held):
        """(cause, where) of an engine's instruction, 0 where it is none of the engine's."""
        slots = list(FORMATS[engine].slots)
        found = [*signals.overflows(), *signals.when_checked(rules(self._config, engine, signals))]
        name = engine.name.lower()
        broken, first = (Signal(len(found), name=f"{name}_{n}") for n in ("broken", "first"))
        m.d.comb += [
            broken.eq(Cat(rule.broken.at(_MULTIPLIED) for rule in found)),
            first.eq(Mux(held[1].engine == engine, broken & -broken, 0)),
        ]
        results = []
        for suffix, bits, number_of in (
            ("cause", CAUSE_BITS, lambda rule: rule.cause),
            ("where", WHERE_BITS, lambda rule: slots.index(rule.field)),
        ):
            result = Signal(bits, name=f"{name}_{suffix}")
            m.d.comb += result.eq(_encode(first, [int(number_of(rule)) for rule in found], bits))
            results.append(result)
        return results


class _Signals:
    """`isa.legal.Operands` in hardware: the fields of the instruction in the first stage."""

    def __init__(self, pipeline: Pipeline, engine: Engine, entry, division, check) -> None:
        self._pipeline, self._engine, self._entry = pipeline, engine, entry
        self._division = division
        self._values = field_values(engine, entry.operands, entry.choices)
        self._atoms = check.memory_atoms

    def _number(self, key: tuple, value) -> Number:
        return self._pipeline.once(key, lambda: self._pipeline.number(value, _CHECK))

    def value(self, name: str) -> Number:
        # Fields in the same place are one number, whatever the engine.
        return self._number(("field", FORMATS[self._engine].name, name), self._values[name])

    def chosen(self, name: str, *values: str) -> Number:
        (choice,) = (c for c in CHOICES[self._engine] if c.name == name)
        codes = sorted(choice.values.index(value) for value in values)
        hit = Cat(self._values[name] == code for code in codes).any()
        return self._wire(("chosen", FORMATS[self._engine].name, name, *codes), hit)

    def opcode_in(self, *mnemonics: str) -> Number:
        opcodes = sorted(map(opcode_of, mnemonics))
        hit = Cat(self._entry.opcode == opcode for opcode in opcodes).any()
        return self._wire(("opcode", *opcodes), hit)

    def _wire(self, key: tuple, value) -> Number:
        return self._pipeline.once(key, lambda: self._pipeline.wire(value, _CHECK))

    def select(self, condition, one, other):
        return select(condition, one, other)

    def less_one(self, value):
        return value.less_one() if isinstance(value, Number) else value - 1

    def last_row_of_b(self) -> Number:
        f, division = self._values, self._division
        row = Mux(division.valid, division.quotient, (f["rows"] - 1)[: len(f["rows"])])
        return self._wire(("last row of b",), row)

    def memory_atoms(self) -> Number:
        return self._pipeline.once(
            ("atoms",), lambda: self._pipeline.number(self._atoms, stage=None)
        )

    def overflows(self) -> list[Rule]:
        """Operands whose registers hold more than the field takes."""
        return [
            Rule(
                Cause.REGISTER_OVERFLOW,
                field.name,
                self._wire(
                    ("overflow", port, field.bits), self._entry.operands[port][field.bits :].any()
                ),
            )
            for port, field in enumerate(OPERANDS[self._engine])
            if field.bits < VALUE_BITS
        ]

    def when_checked(self, found: list[Rule]) -> list[Rule]:
        """The rules as those of the instructions that have operands to check."""
        with_operands = [i.mnemonic for i in INSTRUCTIONS if i.engine == self._engine and i.uses]
        if self._engine == Engine.SEQUENCER:
            with_operands = list(_CHECKED_SCALARS)
        checked = self.opcode_in(*with_operands)
        return [Rule(rule.cause, rule.field, checked & rule.broken) for rule in found]


def _encode(first, numbers: list[int], bits: int):
    """The number of the only bit that is set in ``first``; 0 without one."""
    return Cat(
        Cat(first[i] for i, number in enumerate(numbers) if number >> bit & 1).any()
        for bit in range(bits)
    )


def _either(values):
    """The value of the only one that is not 0."""
    result = 0
    for value in values:
        result = result | value
    return result
