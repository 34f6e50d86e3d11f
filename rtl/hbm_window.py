"""Window: the column accesses that wait, from which the scheduler picks out of order."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.hbm import BANKS, HbmGeneration
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
        self._entries = [Signal(self._access, name=f"entry_{i}") for i in range(depth)]
        going = self._pick(m)
        self._move(m, going)
        self._wait(m, going)
        return m

    def _pick(self, m: Module) -> Signal:
        """Choose the oldest of each kind; returns the place of the one that leaves, one-hot."""
        entries = self._entries
        of_bank = [Signal(BANKS, name=f"bank_of_{i}") for i in range(self._depth)]
        m.d.comb += [of.eq(1 << e.place.bank) for of, e in zip(of_bank, entries, strict=True)]

        def allowed(name: str, mask: Value) -> Signal:
            """A bit for each entry: its bank is in the mask."""
            found = Signal(self._depth, name=name)
            m.d.comb += found.eq(Cat((of & mask).any() for of in of_bank))
            return found

        first = Signal(self._depth)  # what is not held back by the oldest
        with m.If(self.old):
            m.d.comb += first.eq(~allowed("beside", of_bank[0]) | 1)
        with m.Else():
            m.d.comb += first.eq(~0)
        ready = self._valid & self._hit & first
        kept = Signal(BANKS)
        m.d.comb += kept.eq(_any(of & ready[i].replicate(BANKS) for i, of in enumerate(of_bank)))
        missing = self._valid & ~self._hit & first
        column = _oldest(m, "column_pick", ready & allowed("column_banks", self.can_column))
        act = _oldest(m, "act_pick", missing & allowed("act_banks", self.can_act))
        pre = _oldest(m, "pre_pick", missing & allowed("pre_banks", self.can_pre & ~kept))
        m.d.comb += [
            self.column_valid.eq(column.any()),
            self.column.eq(_chosen(m, "column", column, [e.as_value() for e in entries])),
            self.act_valid.eq(act.any()),
            self.act_bank.eq(_chosen(m, "act_bank", act, [e.place.bank for e in entries])),
            self.act_row.eq(_chosen(m, "act_row", act, [e.place.row for e in entries])),
            self.pre_valid.eq(pre.any()),
            self.pre_bank.eq(_chosen(m, "pre_bank", pre, [e.place.bank for e in entries])),
            self.used.eq(
                _any(of & self._valid[i].replicate(BANKS) for i, of in enumerate(of_bank))
            ),
        ]
        going = Signal(self._depth)
        m.d.comb += going.eq(column & self.take.replicate(self._depth))
        return going

    def _move(self, m: Module, going: Signal) -> None:
        """Those behind the one that leaves move up; a new one comes behind all."""
        depth, last = self._depth, self.level
        moves = Signal(depth)  # entries at and behind the one that leaves
        m.d.comb += moves.eq(~(going - 1))
        entering = Signal()
        m.d.comb += [
            self.i.ready.eq(self.level != depth),
            entering.eq(self.i.valid & self.i.ready),
        ]
        m.d.sync += self.level.eq(last + entering - going.any())
        place = Signal(range(depth + 1))
        m.d.comb += place.eq(last - going.any())
        new_hit = self._hit_after(self.i.payload, self.is_open)
        hits = [self._hit_after(e, self._hit[k]) for k, e in enumerate(self._entries)]
        hits = [_wire(m, f"hit_after_{k}", hit) for k, hit in enumerate(hits)]
        for k, entry in enumerate(self._entries):
            behind = k + 1 < depth
            with m.If(entering & (place == k)):
                m.d.sync += [
                    entry.eq(self.i.payload),
                    self._valid[k].eq(1),
                    self._hit[k].eq(new_hit),
                ]
            with m.Elif(moves[k]):
                if behind:
                    m.d.sync += [entry.eq(self._entries[k + 1]), self._hit[k].eq(hits[k + 1])]
                m.d.sync += self._valid[k].eq(self._valid[k + 1] if behind else 0)
            with m.Else():
                m.d.sync += self._hit[k].eq(hits[k])

    def _hit_after(self, access: data.View, hit: Value) -> Value:
        """Whether an access' row is open after this cycle's commands."""
        mine = self.act & (access.place.bank == self.bank)
        shut = self.closed.bit_select(access.place.bank, 1)
        return Mux(mine, access.place.row == self.row, hit & ~shut)

    def _wait(self, m: Module, going: Signal) -> None:
        """Count how long the oldest access has been the oldest."""
        age = Signal(AGE_BITS)
        m.d.comb += self.old.eq(age == self._patience)
        with m.If(~self._valid[0] | going[0]):
            m.d.sync += age.eq(0)
        with m.Elif(~self.old):
            m.d.sync += age.eq(age + 1)


def _wire(m: Module, name: str, value: Value) -> Signal:
    signal = Signal(len(value), name=name)
    m.d.comb += signal.eq(value)
    return signal


def _oldest(m: Module, name: str, which: Value) -> Signal:
    """The lowest bit that is set, alone."""
    which = _wire(m, f"{name}_from", which)
    return _wire(m, name, (which & (~which + 1))[: len(which)])


def _any(values) -> Value:
    result = 0
    for value in values:
        result = result | value
    return result


def _chosen(m: Module, name: str, pick: Signal, values: list[Value]) -> Value:
    """The value whose bit is set, 0 if none is."""
    return _any(value & pick[i].replicate(len(value)) for i, value in enumerate(values))
