"""Guard: which commands an HBM pseudo-channel may be given now."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.hbm import ACT_CYCLES, BANK_GROUPS, BANKS, BANKS_PER_GROUP, BURST_CYCLES, HbmGeneration
from rtl.hbm_planes import countdowns, equal
from rtl.hbm_port import BANK_BITS, row_bits


class Guard(wiring.Component):
    """Follows the commands that are decided, and counts down what each makes others wait for.

    A command that is decided in this cycle is on the port in the next one: what holds between
    decisions holds between commands. One command a cycle on each bus.

    Members
    -------
    act, pre, pre_all, ref_all, ref_bank : the row command that is decided; none if all are 0
    bank, row : the row command's
    read, write, column_bank : the column command that is decided
    can_act, can_pre, can_read, can_write : a bit for each bank: it may have the command now
    can_pre_all : every open bank may be precharged
    can_ref_all : every bank has been precharged for long enough
    can_ref_bank : a bit for each bank
    open : a bit for each bank
    looked_up_bank, looked_up_row, found : a row, and whether it is open
    """

    def __init__(self, generation: HbmGeneration):
        self._generation = generation
        one, banks, row = In(1), Out(BANKS), row_bits(generation)
        commands = dict.fromkeys(("act", "pre", "pre_all", "ref_all", "ref_bank"), one)
        columns = dict.fromkeys(("read", "write"), one)
        can = ("can_act", "can_pre", "can_read", "can_write", "can_ref_bank", "open")
        super().__init__(
            {
                **commands,
                "bank": In(BANK_BITS),
                "row": In(row),
                **columns,
                "column_bank": In(BANK_BITS),
                **dict.fromkeys(can, banks),
                "can_pre_all": Out(1),
                "can_ref_all": Out(1),
                "looked_up_bank": In(BANK_BITS),
                "looked_up_row": In(row),
                "found": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        group_bits = (BANK_GROUPS - 1).bit_length()
        mine, column, group, column_group = (
            Signal(BANKS, name=name) for name in ("mine", "column", "group", "column_group")
        )
        groups = [(1 << BANKS_PER_GROUP) - 1 << g * BANKS_PER_GROUP for g in range(BANK_GROUPS)]
        m.d.comb += [
            mine.eq(1 << self.bank),
            column.eq(1 << self.column_bank),
            group.eq(Array(groups)[self.bank[-group_bits:]]),
            column_group.eq(Array(groups)[self.column_bank[-group_bits:]]),
        ]
        self._remember(m, mine)
        may_act, may_pre = self._rows(m, mine, group, column)
        may_read, may_write = self._columns(m, mine, column_group)
        closed, of_four, bus = ~self.open, self._four_activations(m), self._row_bus_free(m)
        m.d.comb += [
            self.can_act.eq(may_act & closed & of_four.replicate(BANKS)),
            self.can_pre.eq(may_pre & self.open & bus.replicate(BANKS)),
            self.can_pre_all.eq((may_pre | closed).all() & bus),
            self.can_ref_all.eq((may_act & closed).all()),
            self.can_ref_bank.eq(may_act & closed),
            self.can_read.eq(may_read & self.open),
            self.can_write.eq(may_write & self.open),
        ]
        return m

    def _remember(self, m: Module, mine: Signal) -> None:
        """Which banks are open, and with which rows."""
        shut = Mux(self.pre, mine, 0) | self.pre_all.replicate(BANKS)
        m.d.sync += self.open.eq((self.open & ~shut) | Mux(self.act, mine, 0))
        rows = [Signal(BANKS, name=f"row_{bit}") for bit in range(len(self.row))]
        with m.If(self.act):
            for plane, bit in zip(rows, self.row, strict=True):
                m.d.sync += plane.eq((plane & ~mine) | (mine & bit.replicate(BANKS)))
        found = self.open & equal(rows, self.looked_up_row)
        m.d.comb += self.found.eq(found.bit_select(self.looked_up_bank, 1))

    def _rows(self, m: Module, mine: Value, group: Value, column: Value) -> tuple[Signal, Signal]:
        """Banks that may be activated (or refreshed), and precharged, for all but tFAW and the bus.

        What concerns two banks is counted in all banks that it concerns.
        """
        t = self._generation.timing
        act = countdowns(
            m,
            "act_wait",
            BANKS,
            (self.act, ~0, max(t.rrd_s, ACT_CYCLES)),
            (self.act, group, t.rrd_l),
            (self.act, mine, t.rc),
            (self.pre, mine, t.rp),
            (self.pre_all, ~0, t.rp),
            (self.ref_bank, ~0, t.rrefd),
            (self.ref_bank, mine, t.rfc_pb),
            (self.ref_all, ~0, t.rfc_ab),
        )
        pre = countdowns(
            m,
            "pre_wait",
            BANKS,
            (self.act, mine, t.ras),
            (self.read, column, t.rtp),
            (self.write, column, t.cwl + BURST_CYCLES + t.wr),
        )
        return act, pre

    def _columns(self, m: Module, mine: Value, group: Value) -> tuple[Signal, Signal]:
        """Banks that may be read, and written."""
        t = self._generation.timing
        written = t.cwl + BURST_CYCLES
        read = countdowns(
            m,
            "read_wait",
            BANKS,
            (self.act, mine, t.rcd_rd),
            (self.read, ~0, t.ccd_s),
            (self.read, group, t.ccd_l),
            (self.write, ~0, written + t.wtr_s),
            (self.write, group, written + t.wtr_l),
        )
        write = countdowns(
            m,
            "write_wait",
            BANKS,
            (self.act, mine, t.rcd_wr),
            (self.write, ~0, t.ccd_s),
            (self.write, group, t.ccd_l),
            (self.read, ~0, t.rtw),
        )
        return read, write

    def _row_bus_free(self, m: Module) -> Signal:
        """An activation takes the row bus for ACT_CYCLES."""
        past, free = Signal(ACT_CYCLES - 1), Signal()
        m.d.sync += past.eq(Cat(self.act, past))
        m.d.comb += free.eq(~past.any())
        return free

    def _four_activations(self, m: Module) -> Value:
        """Fewer than four rows were activated in the last tFAW."""
        past = Signal(self._generation.timing.faw - 1)
        count = Signal(range(5))
        m.d.sync += [
            past.eq(Cat(self.act, past)),
            count.eq(count + self.act - past[-1]),
        ]
        return count != 4
