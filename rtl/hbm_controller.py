"""HbmController: AXI4 on one side, the buses of an HBM pseudo-channel on the other."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.counters import HBM_COUNTERS
from isa.hbm import BEAT_BYTES, HbmGeneration
from isa.hbm_map import HbmMap
from rtl.axi import ID_BITS, Axi4
from rtl.hbm_burst import SIZE_BITS
from rtl.hbm_port import DevicePort
from rtl.hbm_reads import LATENCY_BITS, HbmReads, tag_layout as read_tag
from rtl.hbm_scheduler import Scheduler
from rtl.hbm_writes import HbmWrites, tag_layout as write_tag
from rtl.timing import HBM_PATIENCE, HBM_SLOTS, REFRESH_POSTPONED

EVENTS = data.StructLayout(dict.fromkeys(HBM_COUNTERS, 1) | {"ecc_corrected": 2})


class HbmController(wiring.Component):
    """One pseudo-channel: bursts become accesses of 32-byte columns, which `Scheduler` makes in an
    order of its own. Responses come in the order of the requests, on each channel.

    Latency of a read from an idle pseudo-channel with the row's bank closed, from the cycle of the
    address to that of the first beat: 4 + tRCD + CL + 2 cycles.

    ``depth``: reads, and writes, from which the scheduler chooses; ``patience``: cycles that the
    oldest of them may be passed over; ``per_bank``, ``postpone``: see `Refresh`; ``ecc``: memory
    has check bits for its words (`isa.secded`).

    Members
    -------
    axi : beats of 16 bytes
    memory_columns : size of the memory in columns of 32 bytes
    device : the pseudo-channel's buses
    idle : no burst is under way, but its last answer may be on offer; no access waits
    events : for each of `isa.counters.HBM_COUNTERS`, by how much it rises in this cycle
    answered, latency : a read burst's last beat is taken, cycles after its address
    """

    def __init__(
        self,
        generation: HbmGeneration,
        mapping: HbmMap,
        depth: int = 64,
        id_bits: int = ID_BITS,
        patience: int = HBM_PATIENCE,
        per_bank: bool = False,
        postpone: int = REFRESH_POSTPONED,
        ecc: bool = False,
    ):
        self._ecc = ecc
        self._generation, self._mapping, self._id_bits = generation, mapping, id_bits
        self._depth, self._slots = depth, HBM_SLOTS * depth
        self._scheduling = {"patience": patience, "per_bank": per_bank, "postpone": postpone}
        super().__init__(
            {
                "axi": In(Axi4(BEAT_BYTES, id_bits)),
                "memory_columns": In(SIZE_BITS),
                "device": Out(DevicePort(generation)),
                "idle": Out(1),
                "events": Out(EVENTS),
                "answered": Out(1),
                "latency": Out(LATENCY_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts = self._generation, self._mapping, self._slots, self._id_bits, self._ecc
        m.submodules.reads = reads = HbmReads(*parts)
        m.submodules.writes = writes = HbmWrites(*parts)
        tag_bits = max(read_tag(self._slots).size, write_tag(self._slots).size)
        m.submodules.scheduler = scheduler = Scheduler(
            self._generation, self._depth, tag_bits, **self._scheduling
        )
        for name, half in (("read", reads), ("write", writes)):
            accesses = getattr(scheduler, name)
            m.d.comb += [
                accesses.valid.eq(half.access.valid),
                accesses.payload.place.eq(half.access.payload.place),
                accesses.payload.tag.eq(half.access.payload.tag),
                half.access.ready.eq(accesses.ready),
                half.made.eq(getattr(scheduler, f"{name}_made")),
                half.tag.eq(scheduler.tag),
                half.memory_columns.eq(self.memory_columns),
            ]
        for name, member in self.axi.signature.members.items():
            half = reads if name.startswith(("ar", "r")) else writes
            inner, outer = getattr(half.axi, name), getattr(self.axi, name)
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        for name in ("row_cmd", "row_bank", "row_addr", "col_cmd", "col_bank", "col_addr"):
            m.d.comb += getattr(self.device, name).eq(getattr(scheduler, name))
        m.d.comb += [
            self.device.wdata.eq(writes.wdata),
            self.device.wmask.eq(writes.wmask),
            reads.rdata.eq(self.device.rdata),
            self.device.wecc.eq(writes.wecc),
            reads.recc.eq(self.device.recc),
            writes.fetched.eq(reads.fetched),
            writes.data.eq(reads.data),
            writes.failed.eq(reads.failed),
            self.idle.eq(reads.idle & writes.idle & scheduler.idle),
            self.answered.eq(reads.answered),
            self.latency.eq(reads.latency),
            self.events.reads.eq(scheduler.read_made),
            self.events.writes.eq(scheduler.write_made),
            self.events.row_hits.eq(scheduler.hit),
            self.events.row_misses.eq(scheduler.miss),
            self.events.row_conflicts.eq(scheduler.conflict),
            self.events.turnarounds.eq(scheduler.turn),
            self.events.refresh_cycles.eq(scheduler.refreshing),
            self.events.ecc_corrected.eq(reads.corrected),
        ]
        wiring.connect(m, writes.fetch, reads.fetch)
        return m
