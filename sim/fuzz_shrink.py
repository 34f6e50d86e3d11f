"""Makes a failing random program small: takes away and simplifies while it still fails.

Every step leaves a program that is free of hazards: a phase goes together with the barriers beside
it, an item that a barrier needs becomes a nop, and operands never leave their engine's place.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from isa.config import ChipConfig
from isa.program import Op
from sim.fuzz_items import Simpler, simpler_items
from sim.fuzz_maker import NOPS
from sim.fuzz_program import Item, Phase, Program, Token

Fails = Callable[[Program], bool]
Edit = Callable[[Program], Program | None]  # None: it does not apply any more


def shrink(program: Program, config: ChipConfig, fails: Fails, budget: int = 1500) -> Program:
    """A small program that still ``fails``, found by at most about ``budget`` trials.

    Passes go from coarse to fine, again and again until none changes anything.
    """
    trials = 0
    before: Program | None = None
    while program != before and trials < budget:
        before = program
        for edits in (_fewer_phases, _fewer_items, _fewer_tokens, _fewer_turns, _plainer_items):
            for edit in list(edits(program, config)):
                candidate = edit(program)
                if candidate is None or candidate == program or trials >= budget:
                    continue
                trials += 1
                if fails(candidate):
                    program = candidate
    return program


def _spans(row: Sequence[int]) -> Iterator[frozenset[int]]:
    """Parts of a row: all of it, its halves, quarters, … single elements."""
    size = len(row)
    while size:
        for start in range(0, len(row), size):
            yield frozenset(row[start : start + size])
        size //= 2


def _numbers(phase: Phase) -> set[int]:
    return {item.number for item in phase.items}


def _fewer_phases(program: Program, config: ChipConfig) -> Iterator[Edit]:
    firsts = [phase.items[0].number for phase in program.phases if phase.items]
    for span in _spans(firsts):
        yield partial(_drop_phases, span=span)
    for first in firsts:
        yield partial(_part, first=first)


def _drop_phases(program: Program, span: frozenset[int]) -> Program | None:
    """Without the phases that hold an item of ``span``; the last one, with its `halt`, stays."""
    last = program.phases[-1]
    gone = [p for p in program.phases if p is not last and _numbers(p) & span]
    for phase in gone:
        if phase.items:
            program = _part(program, phase.items[0].number) or program
    kept = [p for p in program.phases if p is last or not _numbers(p) & span]
    numbers = {number for phase in kept for number in _numbers(phase)}
    tokens = tuple(token for token in program.tokens if numbers.issuperset(token))
    return replace(program, phases=tuple(kept), tokens=tokens) if gone else None


def _part(program: Program, first: int) -> Program | None:
    """A `sync` in place of the barriers on both sides of a phase; None if there is none."""
    phases, tokens = list(program.phases), program.tokens
    number = max(item.number for item in program.items())
    for index, phase in enumerate(phases[:-1]):
        following = phases[index + 1]
        if not any(first in _numbers(neighbour) for neighbour in (phase, following)):
            continue
        crossing = {t for t in tokens if t[0] in _numbers(phase) and t[1] in _numbers(following)}
        if crossing:
            number += 1
            phases[index] = replace(phase, after=(*phase.after, Item(number, Op("sync"))))
            tokens = tuple(token for token in tokens if token not in crossing)
    if tokens == program.tokens:
        return None
    return replace(program, phases=tuple(phases), tokens=tokens)


def _fewer_items(program: Program, config: ChipConfig) -> Iterator[Edit]:
    for span in _spans([item.number for item in program.items()]):
        yield partial(_drop_items, span=span)


def _drop_items(program: Program, span: frozenset[int]) -> Program | None:
    """Without items, but `halt`, and `sync` between phases; barriers keep nops."""
    needed, final = _crossing(program), program.phases[-1]
    before_halt = program.phases[-2] if len(program.phases) > 1 and len(final.items) == 1 else None
    changed: dict[int, Item | None] = {}
    for phase in program.phases:
        rest = len(phase.items)
        for item in phase.items:
            if item.number not in span or item.op.mnemonic == "halt":
                continue
            ends_phase = item.op.mnemonic == "sync" and item is phase.items[-1]
            if item.number in needed and item.engine in NOPS:
                nop = Item(item.number, Op(NOPS[item.engine]))
                if item != nop:
                    changed[item.number] = nop
            elif not ends_phase or rest == 1 or phase is before_halt:
                changed[item.number] = None
                rest -= 1
    return program.replace_items(changed) if changed else None


def _crossing(program: Program) -> set[int]:
    """Items with a token to or from another phase."""
    phase_of = {n: index for index, p in enumerate(program.phases) for n in _numbers(p)}
    return {n for t in program.tokens if phase_of[t[0]] != phase_of[t[1]] for n in t}


def _fewer_tokens(program: Program, config: ChipConfig) -> Iterator[Edit]:
    crossing = _crossing(program)
    inner = [i for i, token in enumerate(program.tokens) if not crossing.issuperset(token)]
    for span in _spans(inner):
        tokens = {program.tokens[index] for index in span}
        yield partial(_drop_tokens, gone=tokens)


def _drop_tokens(program: Program, gone: set[Token]) -> Program:
    return replace(program, tokens=tuple(token for token in program.tokens if token not in gone))


def _fewer_turns(program: Program, config: ChipConfig) -> Iterator[Edit]:
    for index, phase in enumerate(program.phases):
        for turns in sorted({1, phase.turns // 2, phase.turns - 1} - {0, phase.turns}):
            yield partial(_with_turns, index=index, turns=turns)


def _with_turns(program: Program, index: int, turns: int) -> Program:
    phases = list(program.phases)
    phases[index] = replace(phases[index], turns=min(turns, phases[index].turns))
    return replace(program, phases=tuple(phases))


def _plainer_items(program: Program, config: ChipConfig) -> Iterator[Edit]:
    direct: dict[int, Item | None] = {
        item.number: replace(item, via={})
        for item in program.items()
        if item.via == {name: item.op.get(name) for name in item.via}
    }
    yield partial(Program.replace_items, changed=direct)
    for number in [item.number for item in program.items()]:
        item = next(item for item in program.items() if item.number == number)
        for simpler in simpler_items(item, config):
            yield partial(_simplify, number=number, simpler=simpler)


def _simplify(program: Program, number: int, simpler: Simpler) -> Program | None:
    """With one item simplified as it now stands."""
    item = next((item for item in program.items() if item.number == number), None)
    changed = simpler(item) if item else None
    return program.replace_items({number: changed}) if changed else None
