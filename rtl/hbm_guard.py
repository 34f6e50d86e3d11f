"""Guard: which commands an HBM pseudo-channel may be given now."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.hbm import ACT_CYCLES, BANK_GROUPS, BANKS, BANKS_PER_GROUP, BURST_CYCLES, HbmGeneration
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
        self._remember(m)
        banks_act, banks_pre = self._of_banks(m)
        may_act, may_ref = self._between_rows(m)
        may_read, may_write = self._between_columns(m)
        closed = ~self.open
        m.d.comb += [
            self.can_act.eq(banks_act & closed & may_act),
            self.can_pre.eq(banks_pre & self.open & self._row_bus_free(m).replicate(BANKS)),
            self.can_pre_all.eq((banks_pre | closed).all() & self._bus_free),
            self.can_ref_all.eq((banks_act & closed).all() & self._bus_free),
            self.can_ref_bank.eq(banks_act & closed & may_ref.replicate(BANKS)),
            self.can_read.eq(self._after_act(m, "read") & self.open & may_read),
            self.can_write.eq(self._after_act(m, "write") & self.open & may_write),
        ]
        return m

    def _remember(self, m: Module) -> None:
        """Which banks are open, and with which rows."""
        rows = [Signal(len(self.row), name=f"row_of_{bank}") for bank in range(BANKS)]
        for bank, row in enumerate(rows):
            with m.If(self.act & (self.bank == bank)):
                m.d.sync += [row.eq(self.row), self.open[bank].eq(1)]
            with m.Elif(self.pre_all | (self.pre & (self.bank == bank))):
                m.d.sync += self.open[bank].eq(0)
        row = Array(rows)[self.looked_up_bank]
        is_open = self.open.bit_select(self.looked_up_bank, 1)
        m.d.comb += self.found.eq(is_open & (row == self.looked_up_row))

    def _of_banks(self, m: Module) -> tuple[Value, Value]:
        """Banks whose own history lets them be activated (or refreshed), precharged."""
        t, act, pre = self._generation.timing, [], []
        after_write = t.cwl + BURST_CYCLES + t.wr
        for bank in range(BANKS):
            mine, column = self.bank == bank, self.column_bank == bank
            act.append(
                countdown(
                    m,
                    f"act_{bank}",
                    (self.act & mine, t.rc),
                    ((self.pre & mine) | self.pre_all, t.rp),
                    (self.ref_all, t.rfc_ab),
                    (self.ref_bank & mine, t.rfc_pb),
                )
            )
            pre.append(
                countdown(
                    m,
                    f"pre_{bank}",
                    (self.act & mine, t.ras),
                    (self.read & column, t.rtp),
                    (self.write & column, after_write),
                )
            )
        return Cat(act), Cat(pre)

    def _after_act(self, m: Module, kind: str) -> Value:
        """Banks whose activation was long enough ago for a read or a write."""
        wait = getattr(self._generation.timing, {"read": "rcd_rd", "write": "rcd_wr"}[kind])
        return Cat(
            countdown(m, f"{kind}_{bank}", (self.act & (self.bank == bank), wait))
            for bank in range(BANKS)
        )

    def _row_bus_free(self, m: Module) -> Value:
        self._bus_free = countdown(m, "row_bus", (self.act, ACT_CYCLES))
        return self._bus_free

    def _between_rows(self, m: Module) -> tuple[Value, Value]:
        """A bit for each bank: the others let it be activated; and whether one may be refreshed."""
        t = self._generation.timing
        group = self.bank[-(BANK_GROUPS - 1).bit_length() :]
        short = countdown(
            m,
            "rrd_s",
            (self.act, max(t.rrd_s, ACT_CYCLES)),
            (self.ref_bank, t.rrefd),
            (self.ref_all, t.rfc_ab),
        )
        long = [countdown(m, f"rrd_l_{g}", (self.act & (group == g), t.rrd_l)) for g in range(4)]
        of_four = self._four_activations(m)
        may = [short & of_four & long[bank // BANKS_PER_GROUP] for bank in range(BANKS)]
        return Cat(may), short

    def _four_activations(self, m: Module) -> Value:
        """Fewer than four rows were activated in the last tFAW."""
        past = Signal(self._generation.timing.faw - 1)
        count = Signal(range(5))
        m.d.sync += [
            past.eq(Cat(self.act, past)),
            count.eq(count + self.act - past[-1]),
        ]
        return count != 4

    def _between_columns(self, m: Module) -> tuple[Value, Value]:
        """A bit for each bank: the column accesses before let it be read, written."""
        t = self._generation.timing
        group = self.column_bank[-(BANK_GROUPS - 1).bit_length() :]
        turn_s, turn_l = (t.cwl + BURST_CYCLES + wtr for wtr in (t.wtr_s, t.wtr_l))
        read_s = countdown(m, "read_s", (self.read, t.ccd_s), (self.write, turn_s))
        write_s = countdown(m, "write_s", (self.write, t.ccd_s), (self.read, t.rtw))
        reads, writes = [], []
        for g in range(BANK_GROUPS):
            read, write = self.read & (group == g), self.write & (group == g)
            reads.append(countdown(m, f"read_l_{g}", (read, t.ccd_l), (write, turn_l)) & read_s)
            writes.append(countdown(m, f"write_l_{g}", (write, t.ccd_l)) & write_s)
        return (
            Cat(reads[bank // BANKS_PER_GROUP] for bank in range(BANKS)),
            Cat(writes[bank // BANKS_PER_GROUP] for bank in range(BANKS)),
        )


def countdown(m: Module, name: str, *waits: tuple[Value, int]) -> Signal:
    """A signal that is 0 in the n - 1 cycles after one in which ``waits`` has (1, n)."""
    longest = max(wait for _, wait in waits)
    left, after, over = Signal(range(longest), name=f"{name}_left"), Signal(), Signal(name=name)
    after = Mux(over, 0, left - 1)[: len(left)]
    for event, wait in waits:
        held = Signal(len(left), name=f"{name}_{wait}")
        m.d.comb += held.eq(after)
        after = Mux(event & (held < wait - 1), wait - 1, held)
    m.d.comb += over.eq(left == 0)
    m.d.sync += left.eq(after)
    return over
