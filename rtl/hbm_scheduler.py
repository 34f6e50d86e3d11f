"""Scheduler of an HBM pseudo-channel: first ready, first come, first served."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.hbm import BANKS, HbmGeneration
from rtl.hbm_guard import Guard
from rtl.hbm_port import ColumnCommand, DevicePort, RowCommand
from rtl.hbm_refresh import Refresh
from rtl.hbm_window import Window, access_layout

DIRECTIONS = ("read", "write")


class Scheduler(wiring.Component):
    """Decides one row and one column command a cycle; both are on the port in the next cycle.

    Column bus: the oldest access whose row is open and which no timing forbids. As tCCD_L > tCCD_S
    this alternates bank groups by itself. Row bus: refresh first, then the oldest activation and
    the oldest precharge that an access of the present direction wants, then those of the other
    direction in banks that the present one does not use.

    Direction: reads, until ``high`` writes wait, or there are no reads, or the oldest write is old;
    then writes, until none is left, or as many as fit the window have been made while reads wait.

    Members
    -------
    read, write : streams of `access_layout`
    read_made, write_made : the access with `read_tag`, `write_tag` is decided in this cycle
    device : row and column bus of the device; of `wdata`, `wmask` nothing
    idle : no access waits
    turn : a read follows a write on the column bus, or a write a read
    hit, miss, conflict : a column of a row that has been used since it was opened; a row is opened;
        one is closed for another
    refreshing : a refresh is made, or waited for
    """

    def __init__(
        self,
        generation: HbmGeneration,
        depth: int,
        tag_bits: int,
        patience: int,
        per_bank: bool,
        postpone: int,
    ):
        self._generation, self._depth = generation, depth
        self._tag_bits, self._patience = tag_bits, patience
        self._refresh = per_bank, postpone
        access = stream.Signature(access_layout(generation, tag_bits))
        buses = DevicePort(generation).members
        super().__init__(
            {
                **{name: In(access) for name in DIRECTIONS},
                **{f"{name}_made": Out(1) for name in DIRECTIONS},
                "tag": Out(tag_bits),
                **{name: buses[name] for name in buses if name.startswith(("row_", "col_"))},
                "idle": Out(1),
                **dict.fromkeys(("turn", "hit", "miss", "conflict", "refreshing"), Out(1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.guard = self._guard = guard = Guard(self._generation)
        m.submodules.refresh = refresh = Refresh(self._generation, *self._refresh)
        windows = {}
        for name in DIRECTIONS:
            make = Window(self._generation, self._depth, self._tag_bits, self._patience)
            m.submodules[name] = windows[name] = make
            m.d.comb += make.i.payload.eq(getattr(self, name).payload)
        reads, writes = windows["read"], windows["write"]
        writing = self._direct(m, reads, writes)
        m.d.comb += [
            self.idle.eq((reads.level == 0) & (writes.level == 0)),
            refresh.idle.eq(self.idle),
        ]
        for name in ("open", "can_pre", "can_ref_bank", "can_pre_all", "can_ref_all"):
            m.d.comb += getattr(refresh, name).eq(getattr(guard, name))
        self._look_up(m, windows)
        self._columns(m, writing, windows, refresh.hold)
        self._rows(m, writing, windows, refresh)
        self._watch(m, refresh)
        return m

    def _watch(self, m: Module, refresh: Refresh) -> None:
        """What counters count."""
        guard, used, column = self._guard, Signal(BANKS), Signal(BANKS)
        some, wrote = Signal(), Signal()  # there was an access, and the latest one wrote
        made = guard.read | guard.write
        m.d.comb += [
            column.eq(Mux(made, 1 << guard.column_bank, 0)),
            self.turn.eq(made & some & (wrote != guard.write)),
            self.hit.eq((column & used).any()),
            self.miss.eq(guard.act),
            self.conflict.eq(guard.pre & ~refresh.pre),
            self.refreshing.eq(refresh.busy),
        ]
        with m.If(made):
            m.d.sync += [some.eq(1), wrote.eq(guard.write)]
        m.d.sync += used.eq((used | column) & ~Mux(guard.act, 1 << guard.bank, 0))

    def _direct(self, m: Module, reads: Window, writes: Window) -> Signal:
        """Whether writes are made, rather than reads."""
        depth = self._depth
        high = depth - depth // 8
        writing, turn, batch = Signal(), Signal(), Signal(range(depth + 1))
        some_reads, some_writes = reads.level != 0, writes.level != 0
        begin = (writes.level >= high) | (some_writes & ~some_reads) | (some_writes & writes.old)
        end = ~some_writes | (some_reads & (batch == depth))
        m.d.comb += turn.eq(Mux(writing, end, begin & ~((batch != depth) & reads.old)))
        with m.If(turn):
            m.d.sync += [writing.eq(~writing), batch.eq(0)]
        with m.Elif((self.read_made | self.write_made) & (batch != depth)):
            m.d.sync += batch.eq(batch + 1)
        return writing

    def _look_up(self, m: Module, windows: dict[str, Window]) -> None:
        """Whether the rows of new accesses are open; one look-up a cycle, writes first."""
        guard, reads, writes = self._guard, windows["read"], windows["write"]
        # A read waits while a write enters: both together come at most at the port's rate.
        place = Mux(self.write.valid, self.write.payload.place, self.read.payload.place)
        view = self.read.payload.place.shape()(place)
        m.d.comb += [
            guard.looked_up_bank.eq(view.bank),
            guard.looked_up_row.eq(view.row),
            reads.is_open.eq(guard.found),
            writes.is_open.eq(guard.found),
            reads.i.valid.eq(self.read.valid & ~self.write.valid),
            self.read.ready.eq(reads.i.ready & ~self.write.valid),
            writes.i.valid.eq(self.write.valid),
            self.write.ready.eq(writes.i.ready),
        ]

    def _columns(self, m: Module, writing: Signal, windows: dict[str, Window], hold: Value) -> None:
        guard, reads, writes = self._guard, windows["read"], windows["write"]
        chosen = Mux(writing, writes.column.as_value(), reads.column.as_value())
        access = Signal(access_layout(self._generation, self._tag_bits))
        m.d.comb += [
            reads.can_column.eq(guard.can_read & ~hold),
            writes.can_column.eq(guard.can_write & ~hold),
            access.eq(chosen),
            self.read_made.eq(~writing & reads.column_valid),
            self.write_made.eq(writing & writes.column_valid),
            reads.take.eq(self.read_made),
            writes.take.eq(self.write_made),
            self.tag.eq(access.tag),
            guard.read.eq(self.read_made),
            guard.write.eq(self.write_made),
            guard.column_bank.eq(access.place.bank),
        ]
        command = Mux(self.read_made, ColumnCommand.READ, ColumnCommand.NONE)
        command = Mux(self.write_made, ColumnCommand.WRITE, command)
        m.d.sync += [
            self.col_cmd.eq(command),
            self.col_bank.eq(access.place.bank),
            self.col_addr.eq(access.place.column),
        ]

    def _rows(
        self, m: Module, writing: Signal, windows: dict[str, Window], refresh: Refresh
    ) -> None:
        guard, reads, writes = self._guard, windows["read"], windows["write"]
        for window, other, first in ((reads, writes, ~writing), (writes, reads, writing)):
            banks = ~refresh.hold & Mux(first, ~0, ~other.used)
            m.d.comb += [
                window.can_act.eq(guard.can_act & banks),
                window.can_pre.eq(guard.can_pre & banks),
                window.act.eq(guard.act),
                window.bank.eq(guard.bank),
                window.row.eq(guard.row),
                window.closed.eq(
                    Mux(guard.pre, 1 << guard.bank, 0) | guard.pre_all.replicate(BANKS)
                ),
            ]

        def of(name: str) -> tuple[Value, Value]:
            """Of the present direction, of the other one."""
            mine, others = getattr(reads, name), getattr(writes, name)
            return Mux(writing, others, mine), Mux(writing, mine, others)

        acts, pres = of("act_valid"), of("pre_valid")
        act_banks, act_rows, pre_banks = of("act_bank"), of("act_row"), of("pre_bank")
        refreshes = refresh.pre | refresh.pre_all | refresh.ref_all | refresh.ref_bank
        m.d.comb += [refresh.taken.eq(1), guard.pre_all.eq(refresh.pre_all)]
        m.d.comb += [guard.ref_all.eq(refresh.ref_all), guard.ref_bank.eq(refresh.ref_bank)]
        with m.If(refreshes):
            m.d.comb += [guard.pre.eq(refresh.pre), guard.bank.eq(refresh.bank)]
        for act, pre, act_bank, act_row, pre_bank in zip(
            acts, pres, act_banks, act_rows, pre_banks, strict=True
        ):
            with m.Elif(act):
                m.d.comb += [guard.act.eq(1), guard.bank.eq(act_bank), guard.row.eq(act_row)]
            with m.Elif(pre):
                m.d.comb += [guard.pre.eq(1), guard.bank.eq(pre_bank)]
        command = RowCommand.NONE
        for name, value in (
            ("act", RowCommand.ACT),
            ("pre", RowCommand.PRE),
            ("pre_all", RowCommand.PRE_ALL),
            ("ref_all", RowCommand.REF_ALL),
            ("ref_bank", RowCommand.REF_BANK),
        ):
            command = Mux(getattr(guard, name), value, command)
        m.d.sync += [
            self.row_cmd.eq(command),
            self.row_bank.eq(guard.bank),
            self.row_addr.eq(guard.row),
        ]
