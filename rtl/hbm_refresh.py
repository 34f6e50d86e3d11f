"""Refresh: when an HBM pseudo-channel has to be refreshed, and what stands still for it."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.hbm import BANKS, HbmGeneration
from rtl.hbm_port import BANK_BITS
from rtl.timing import REFRESH_IDLE_CYCLES as IDLE_CYCLES, REFRESH_POSTPONED as MOST_POSTPONED


class Refresh(wiring.Component):
    """Counts the refreshes that are due, and asks for them.

    All-bank: one every tREFI. It is made as soon as there is nothing else to do, or when more than
    ``postpone`` are due; then no access begins until it is on its way.

    Per bank (``per_bank``): one bank after the other, one every tREFI / 16, with the same rules for
    that bank only.

    Members
    -------
    idle : no access waits
    hold : banks in which no access may begin
    open, can_pre, can_pre_all, can_ref_all, can_ref_bank : of the guard
    pre, pre_all, ref_all, ref_bank, bank : the command that it wants, if any, taken in this cycle
        if `taken`
    busy : a refresh is waited for or made
    """

    def __init__(self, generation: HbmGeneration, per_bank: bool, postpone: int):
        self._generation, self._per_bank, self._postpone = generation, per_bank, postpone
        banks = In(BANKS)
        wants = dict.fromkeys(("pre", "pre_all", "ref_all", "ref_bank"), Out(1))
        super().__init__(
            {
                "idle": In(1),
                "hold": Out(BANKS),
                **dict.fromkeys(("open", "can_pre", "can_ref_bank"), banks),
                "can_pre_all": In(1),
                "can_ref_all": In(1),
                **wants,
                "bank": Out(BANK_BITS),
                "taken": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        interval = self._generation.timing.refi // (BANKS if self._per_bank else 1)
        timer, tick = Signal(range(interval)), Signal()
        most = (BANKS if self._per_bank else 1) * (MOST_POSTPONED + 2)
        due, made = Signal(range(most + 1)), Signal()
        m.d.comb += tick.eq(timer == interval - 1)
        m.d.sync += [timer.eq(Mux(tick, 0, timer + 1)), due.eq(due + tick - made)]
        quiet = Signal(range(IDLE_CYCLES + 1))
        with m.If(~self.idle):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != IDLE_CYCLES):
            m.d.sync += quiet.eq(quiet + 1)
        wanted = Signal()
        limit = self._postpone * (BANKS if self._per_bank else 1)
        m.d.comb += wanted.eq((due > limit) | ((due != 0) & (quiet == IDLE_CYCLES)))
        working = Signal()  # begun: it is not given up when accesses come
        with m.If(made):
            m.d.sync += working.eq(0)
        with m.Elif(wanted):
            m.d.sync += working.eq(1)
        m.d.comb += made.eq((self.ref_all | self.ref_bank) & self.taken)
        timing = self._generation.timing
        left = Signal(range(timing.rfc_ab + 1))
        with m.If(made):
            m.d.sync += left.eq(timing.rfc_pb if self._per_bank else timing.rfc_ab)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.comb += self.busy.eq(working | (left != 0))
        if self._per_bank:
            self._one(m, working, made)
        else:
            self._all(m, working)
        return m

    def _all(self, m: Module, working: Signal) -> None:
        m.d.comb += [
            self.hold.eq(working.replicate(BANKS)),
            self.pre_all.eq(working & self.open.any() & self.can_pre_all),
            self.ref_all.eq(working & self.can_ref_all),
        ]

    def _one(self, m: Module, working: Signal, made: Signal) -> None:
        is_open = self.open.bit_select(self.bank, 1)
        m.d.comb += [
            self.hold.eq(Mux(working, 1 << self.bank, 0)),
            self.pre.eq(working & is_open & self.can_pre.bit_select(self.bank, 1)),
            self.ref_bank.eq(working & self.can_ref_bank.bit_select(self.bank, 1)),
        ]
        with m.If(made):
            m.d.sync += self.bank.eq(self.bank + 1)
