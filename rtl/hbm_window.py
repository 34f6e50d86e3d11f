"""Window: the column accesses that wait, from which the scheduler picks out of order."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.hbm import BANKS, HbmGeneration
from rtl.hbm_planes import chosen, equal
from rtl.hbm_port import BANK_BITS, place_layout, row_bits

AGE_BITS = 12


def access_layout(generation: HbmGeneration, tag_bits: int) -> data.StructLayout:
    """A column access: where, and what its owner wants to be told when it is done."""
    return data.StructLayout({"place": place_layout(generation), "tag": tag_bits})


class Window(wiring.Component):
    """Accesses in the order in which they came. The oldest that can go is picked: those whose row
    is open for the column bus, others for an activation or a precharge of their bank.

    A row with waiting accesses is not closed, unless the oldest access of all has waited for more
    than ``patience`` cycles: then nothing younger in its bank goes before it.

    Accesses are kept in bit planes (`rtl.hbm_planes`), the oldest in bit 0.

    Latency 1 cycle from `i` to a pick; one access in and one out a cycle.

    Members
    -------
    i : stream of `access_layout`
    is_open : the row of `i`'s access is open
    act, bank, row : the activation that is decided in this cycle
    closed : banks whose precharge is decided in this cycle
    can_column, can_act, can_pre : banks that may have that command in this cycle
    column_valid, column : the access to be made; `take` removes it
    act_valid, act_bank, act_row : the activation wanted
    pre_valid, pre_bank : the precharge wanted
    used : banks that accesses wait for
    level : accesses waiting
    old : the oldest has waited for more than ``patience``
    """

    def __init__(self, generation: HbmGeneration, depth: int, tag_bits: int, patience: int):
        self._depth, self._patience = depth, patience
        self._row_bits = row_bits(generation)
        access = access_layout(generation, tag_bits)
        self._access = access
        super().__init__(
            {
                "i": In(stream.Signature(access)),
                "is_open": In(1),
                "act": In(1),
                "bank": In(BANK_BITS),
                "row": In(self._row_bits),
                "closed": In(BANKS),
                "can_column": In(BANKS),
                "can_act": In(BANKS),
                "can_pre": In(BANKS),
                "take": In(1),
                "column_valid": Out(1),
                "column": Out(access),
                "act_valid": Out(1),
                "act_bank": Out(BANK_BITS),
                "act_row": Out(self._row_bits),
                "pre_valid": Out(1),
                "pre_bank": Out(BANK_BITS),
                "used": Out(BANKS),
                "level": Out(range(depth + 1)),
                "old": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self._depth
        self._valid, self._hit = Signal(depth), Signal(depth)
        self._planes = [Signal(depth, name=f"plane_{bit}") for bit in range(self._access.size)]
        place = self._access["place"].shape
        first = {name: place[name].offset for name in ("bank", "row")}
        self._bank = self._planes[first["bank"] :][:BANK_BITS]
        self._row = self._planes[first["row"] :][: self._row_bits]
        self._of_bank = [Signal(depth, name=f"of_bank_{bank}") for bank in range(BANKS)]
        for bank, mine in enumerate(self._of_bank):
            m.d.comb += mine.eq(self._valid & equal(self._bank, Const(bank, BANK_BITS)))
        going = self._pick(m)
        self._move(m, going)
        self._wait(m, going)
        return m

    def _in(self, m: Module, name: str, banks: Value) -> Signal:
        """A bit for each access: its bank is among these."""
        found = Signal(self._depth, name=name)
        chosen = (mine & self._all(bank) for mine, bank in zip(self._of_bank, banks, strict=True))
        m.d.comb += found.eq(reduce(or_, chosen))
        return found

    def _banks(self, m: Module, name: str, which: Value) -> Signal:
        """A bit for each bank: some of these accesses are in it."""
        found = Signal(BANKS, name=name)
        m.d.comb += found.eq(Cat((mine & which).any() for mine in self._of_bank))
        return found

    def _all(self, bit: Value) -> Value:
        return bit.replicate(self._depth)

    def _pick(self, m: Module) -> Signal:
        """Choose the oldest of each kind; returns the place of the one that leaves, one-hot."""
        beside = self._in(m, "beside", Cat(mine[0] for mine in self._of_bank))
        first, ready, missing = (Signal(self._depth, name=n) for n in ("first", "ready", "missing"))
        m.d.comb += [
            first.eq(~(self._all(self.old) & beside) | 1),  # what the oldest does not hold back
            ready.eq(self._valid & self._hit & first),
            missing.eq(self._valid & ~self._hit & first),
        ]
        kept = self._banks(m, "kept", ready)
        column = _oldest(m, "column_pick", ready & self._in(m, "column_banks", self.can_column))
        act = _oldest(m, "act_pick", missing & self._in(m, "act_banks", self.can_act))
        pre = _oldest(m, "pre_pick", missing & self._in(m, "pre_banks", self.can_pre & ~kept))
        going = Signal(self._depth)
        m.d.comb += [
            self.column_valid.eq(column.any()),
            self.column.eq(chosen(column, self._planes)),
            self.act_valid.eq(act.any()),
            self.act_bank.eq(chosen(act, self._bank)),
            self.act_row.eq(chosen(act, self._row)),
            self.pre_valid.eq(pre.any()),
            self.pre_bank.eq(chosen(pre, self._bank)),
            self.used.eq(self._banks(m, "used_banks", self._valid)),
            going.eq(column & self._all(self.take)),
        ]
        return going

    def _move(self, m: Module, going: Signal) -> None:
        """Those behind the one that leaves move up; a new one comes behind all."""
        entering, stay, at = Signal(), Signal(self._depth), Signal(self._depth)
        m.d.comb += [
            self.i.ready.eq(self.level != self._depth),
            entering.eq(self.i.valid & self.i.ready),
            stay.eq(going - 1),  # those before the one that leaves; all if none does
            at.eq(entering << (self.level - going.any())[: len(self.level)]),
        ]
        m.d.sync += self.level.eq(self.level + entering - going.any())
        new = self.i.payload
        for plane, after, bit in (
            (self._valid, self._valid, Const(1)),
            (self._hit, self._hit_after(m), self._new_hit(new)),
            *((plane, plane, bit) for plane, bit in zip(self._planes, new.as_value(), strict=True)),
        ):
            moved = (after & stay) | (after >> 1 & ~stay)
            m.d.sync += plane.eq(moved | (at & self._all(bit)))

    def _hit_after(self, m: Module) -> Signal:
        """Whether the accesses' rows are open after this cycle's commands."""
        after, activated = Signal(self._depth), Signal(self._depth)
        mine = self._in(m, "activated_banks", Mux(self.act, 1 << self.bank, 0))
        m.d.comb += [
            activated.eq(mine & equal(self._row, self.row)),
            after.eq(activated | (self._hit & ~mine & ~self._in(m, "shut", self.closed))),
        ]
        return after

    def _new_hit(self, access: data.View) -> Value:
        """The same of the one that enters."""
        mine = self.act & (access.place.bank == self.bank)
        shut = self.closed.bit_select(access.place.bank, 1)
        return Mux(mine, access.place.row == self.row, self.is_open & ~shut)

    def _wait(self, m: Module, going: Signal) -> None:
        """Count how long the oldest access has been the oldest."""
        age = Signal(AGE_BITS)
        m.d.comb += self.old.eq(age == self._patience)
        with m.If(~self._valid[0] | going[0]):
            m.d.sync += age.eq(0)
        with m.Elif(~self.old):
            m.d.sync += age.eq(age + 1)


def _oldest(m: Module, name: str, which: Value) -> Signal:
    """The lowest bit that is set, alone."""
    some, lowest = Signal(len(which), name=f"{name}_from"), Signal(len(which), name=name)
    m.d.comb += [some.eq(which), lowest.eq(some & (~some + 1))]
    return lowest
