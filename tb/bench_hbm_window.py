"""Bench of the window of waiting accesses, against a list and the banks' open rows.

Parameters: `generation`, `depth`, `tag_bits`, `patience`, `cycles`.
"""

import random
from dataclasses import dataclass

import cocotb

from isa.hbm import BANKS, COLUMNS
from rtl.hbm_window import access_layout
from tb.agents import STATES, cycle, reset, state_of
from tb.coverage import Coverage
from tb.hbm_chips import generation_of
from tb.runner import bench_parameters

_PICKS = ("column", "act", "pre")
_ALL = (1 << BANKS) - 1


@dataclass(frozen=True)
class Access:
    """What waits."""

    bank: int
    row: int
    column: int
    tag: int


class Window:
    """Drives everything around the window, and says what it must do; an agent.

    `open` are the rows that are open, by bank; `waiting` the accesses, the oldest first; `first`
    is the cycle since which the oldest of them has been that.
    """

    def __init__(self, dut, sizes: dict, cover: Coverage) -> None:
        self.dut, self.cover, self.sizes = dut, cover, sizes
        self.layout = access_layout(generation_of(sizes["generation"]), sizes["tag_bits"])
        self.row_bits = len(dut.row)
        self.open: list[int | None] = [None] * BANKS
        self.waiting: list[Access] = []
        self.now, self.first = 0, 0
        self.offered: Access | None = None
        self._pace()

    def _pace(self) -> None:
        """For a while: which banks and rows are meant, how much comes, goes, opens and closes."""
        self.banks = random.sample(range(BANKS), random.choice([1, 2, 5, BANKS]))
        base = random.getrandbits(self.row_bits)
        self.rows = [base, base ^ 1 << random.randrange(self.row_bits)]
        self.entering, self.leaving = random.choice([0.1, 0.5, 1]), random.choice([0.05, 0.3, 1])
        self.opening, self.closing = random.choice([0.1, 0.6]), random.choice([0.05, 0.3])
        self.allowed = random.choice([0.2, 0.8])
        self.until = self.now + random.choice([20, 40, 80])

    def idle(self) -> None:
        for name in ("i_valid", "i_payload", "is_open", "act", "bank", "row", "closed", "take"):
            getattr(self.dut, name).value = 0
        for name in ("can_column", "can_act", "can_pre"):
            getattr(self.dut, name).value = 0

    def drive(self) -> None:
        dut = self.dut
        if self.now >= self.until:
            self._pace()
        if self.offered is None and random.random() < self.entering:
            place = random.choice(self.banks), random.choice(self.rows), random.randrange(COLUMNS)
            self.offered = Access(*place, random.getrandbits(self.sizes["tag_bits"]))
        new = self.offered
        dut.i_valid.value = int(new is not None)
        dut.i_payload.value = self._bits(new) if new else random.getrandbits(len(dut.i_payload))
        dut.is_open.value = int(self.open[new.bank] == new.row) if new else random.getrandbits(1)
        self.can = {name: self._some(self.allowed) for name in _PICKS}
        for name, banks in self.can.items():
            getattr(dut, f"can_{name}").value = banks
        self.old = bool(self.waiting) and self.now - self.first >= self.sizes["patience"]
        self.picks = self._expected()
        self.take = self.picks["column"] is not None and random.random() < self.leaving
        dut.take.value = int(self.take)
        self._commands()

    def _bits(self, access: Access) -> int:
        place = {"bank": access.bank, "row": access.row, "column": access.column}
        return self.layout.const({"place": place, "tag": access.tag}).as_value().value

    def _some(self, share: float) -> int:
        return sum(1 << bank for bank in range(BANKS) if random.random() < share)

    def _commands(self) -> None:
        """At most one of an activation of a closed bank, a precharge, and a precharge of all; some
        are those that the window wants, others are the other window's."""
        dut = self.dut
        self.act, self.closed = None, 0
        wants = [a for a in self.waiting if self.open[a.bank] is None] or [None]
        near = [a.bank for a in (*self.waiting, self.offered) if a] or [0]
        if random.random() < self.opening:
            places = random.choice(self.banks), random.choice(self.rows)
            want = random.choice(wants)
            places = (want.bank, want.row) if want and random.random() < 0.7 else places
            self.act = places if self.open[places[0]] is None else None
        elif random.random() < self.closing:
            self.closed = random.choice([_ALL, *[1 << random.choice(near)] * 6])
        bank, row = self.act or (random.randrange(BANKS), random.choice(self.rows))
        dut.act.value, dut.closed.value = int(self.act is not None), self.closed
        dut.bank.value, dut.row.value = bank, row

    def _expected(self) -> dict[str, Access | None]:
        """The oldest of each kind, of those that the oldest of all does not hold back."""
        candidates = self.waiting
        if self.old:
            oldest = self.waiting[0]
            candidates = [oldest, *(a for a in self.waiting[1:] if a.bank != oldest.bank)]
            held = len(candidates) < len(self.waiting)
            self.cover.hit("oldest", "holds others back" if held else "holds nobody back")
        hits = [a for a in candidates if self.open[a.bank] == a.row]
        others = [a for a in candidates if self.open[a.bank] != a.row]
        used = {a.bank for a in hits}
        lists = {"column": hits, "act": others, "pre": [a for a in others if a.bank not in used]}
        return {
            name: next((a for a in lists[name] if self.can[name] >> a.bank & 1), None)
            for name in _PICKS
        }

    def sample(self) -> None:
        dut, waiting = self.dut, self.waiting
        assert int(dut.level.value) == len(waiting)
        assert int(dut.used.value) == sum({1 << access.bank for access in waiting})
        assert bool(dut.old.value) == self.old
        assert bool(dut.i_ready.value) == (len(waiting) < self.sizes["depth"])
        for name, pick in self.picks.items():
            assert bool(getattr(dut, f"{name}_valid").value) == (pick is not None), name
        if pick := self.picks["column"]:
            assert int(dut.column.value) == self._bits(pick), "the oldest that can go"
        if pick := self.picks["act"]:
            assert (int(dut.act_bank.value), int(dut.act_row.value)) == (pick.bank, pick.row)
        if pick := self.picks["pre"]:
            assert int(dut.pre_bank.value) == pick.bank
        self._hit()
        self._step()

    def _hit(self) -> None:
        """Count what is seen in this cycle."""
        cover, new = self.cover, self.offered
        cover.hit("picks", *("no" if self.picks[name] is None else "yes" for name in _PICKS))
        full = len(self.waiting) == self.sizes["depth"]
        level = "full" if full else "some" if self.waiting else "none"
        cover.hit("level", level, state_of(new is not None, not full), int(self.take))
        if self.take:
            place = self.waiting.index(self.picks["column"])
            cover.hit("taken from", ("first", "second", "third")[place] if place < 3 else "later")
            cover.hit("bank", self.picks["column"].bank)
        if new is not None and not full:
            change = "closes" if self.closed >> new.bank & 1 else "nothing"
            if self.act and self.act[0] == new.bank:
                change = "opens its row" if self.act[1] == new.row else "opens another"
            before = self.open[new.bank]
            was = "closed" if before is None else "open" if before == new.row else "other"
            cover.hit("entering", was, change)

    def _step(self) -> None:
        """The end of the cycle."""
        before = self.waiting[:1]
        if self.take:
            self.waiting.remove(self.picks["column"])
        if self.offered is not None and len(self.waiting) + self.take < self.sizes["depth"]:
            self.waiting.append(self.offered)
            self.offered = None
        for bank in range(BANKS):
            if self.closed >> bank & 1:
                self.open[bank] = None
        if self.act:
            self.open[self.act[0]] = self.act[1]
        self.now += 1
        if self.waiting[:1] != before or (self.take and self.picks["column"] is before[0]):
            self.first = self.now


@cocotb.test()
async def random_accesses(dut) -> None:
    """In every cycle the picks are the oldest that can go, and all else is as it must be."""
    sizes, cover = bench_parameters(), Coverage("hbm_window")
    cover.point("picks", dict.fromkeys(_PICKS, ("no", "yes")))
    full = "a full window takes nothing"
    axes = {"accesses": ("none", "some", "full"), "new": STATES, "leaves": (0, 1)}
    waived = {("none", "*", "1"): "there is none", ("full", "taken", "*"): full}
    waived |= {(level, "refused", "*"): "there is room" for level in ("none", "some")}
    cover.point("level", axes, waived)
    cover.point("taken from", {"place": ("first", "second", "third", "later")})
    cover.point("bank", {"number": range(BANKS)})
    once = "only closed banks are opened"
    was = ("closed", "open", "other")
    change = ("nothing", "closes", "opens its row", "opens another")
    waived = {(w, c): once for w in was[1:] for c in change[2:]}
    cover.point("entering", {"bank was": was, "in this cycle it": change}, waived)
    cover.point("oldest", {"when old": ("holds others back", "holds nobody back")})
    window = Window(dut, sizes, cover)
    await reset(dut, [window])
    for _ in range(sizes["cycles"]):
        await cycle(dut, [window])
    cover.save()
