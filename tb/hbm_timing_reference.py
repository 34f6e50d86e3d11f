"""Which commands HBM's timing allows, from the cycles in which all earlier ones were given."""

from collections.abc import Iterator
from dataclasses import dataclass

from isa.hbm import ACT_CYCLES, BANK_GROUPS, BANKS, BANKS_PER_GROUP, BURST_CYCLES, HbmTiming

KINDS = ("act", "pre", "ref_all", "ref_bank", "read", "write")
_NEVER = -(1 << 30)


@dataclass(frozen=True)
class Rule:
    """From an earlier command to this one at least ``least`` cycles; ``scope``: the earlier one was
    in the same bank, in the same group, or in any bank."""

    name: str
    earlier: str
    scope: str
    least: int


def rules(t: HbmTiming) -> dict[str, list[Rule]]:
    """By the command that comes later; tFAW is a matter of its own."""
    written = t.cwl + BURST_CYCLES
    refresh = [
        Rule("rc", "act", "bank", t.rc),
        Rule("rrd_l", "act", "group", t.rrd_l),
        Rule("rrd_s", "act", "any", t.rrd_s),
        Rule("rp", "pre", "bank", t.rp),
        Rule("rfc_pb", "ref_bank", "bank", t.rfc_pb),
        Rule("rrefd", "ref_bank", "any", t.rrefd),
        Rule("rfc_ab", "ref_all", "any", t.rfc_ab),
    ]
    return {
        "act": refresh,
        "ref_bank": refresh,
        "pre": [
            Rule("ras", "act", "bank", t.ras),
            Rule("rtp", "read", "bank", t.rtp),
            Rule("wr", "write", "bank", written + t.wr),
            Rule("row bus", "act", "any", ACT_CYCLES),
        ],
        "read": [
            Rule("rcd_rd", "act", "bank", t.rcd_rd),
            Rule("ccd_s", "read", "any", t.ccd_s),
            Rule("ccd_l", "read", "group", t.ccd_l),
            Rule("wtr_s", "write", "any", written + t.wtr_s),
            Rule("wtr_l", "write", "group", written + t.wtr_l),
        ],
        "write": [
            Rule("rcd_wr", "act", "bank", t.rcd_wr),
            Rule("ccd_s", "write", "any", t.ccd_s),
            Rule("ccd_l", "write", "group", t.ccd_l),
            Rule("rtw", "read", "any", t.rtw),
        ],
    }


class Times:
    """What was given when. A precharge of all counts for banks that were closed, too."""

    def __init__(self, timing: HbmTiming) -> None:
        self.rules, self._faw = rules(timing), timing.faw
        self._bank = {kind: [_NEVER] * BANKS for kind in KINDS}
        self._group = {kind: [_NEVER] * BANK_GROUPS for kind in KINDS}
        self._any = dict.fromkeys(KINDS, _NEVER)
        self._acts: list[int] = []
        self.open: list[int | None] = [None] * BANKS

    def give(self, kind: str, bank: int | None, now: int, row: int = 0) -> None:
        """``bank`` None: all of them."""
        for each in range(BANKS) if bank is None else [bank]:
            self._bank[kind][each] = self._group[kind][each // BANKS_PER_GROUP] = now
            if kind in ("act", "pre"):
                self.open[each] = row if kind == "act" else None
        self._any[kind] = now
        if kind == "act":
            self._acts.append(now)

    def last(self, rule: Rule, bank: int) -> int:
        if rule.scope == "any":
            return self._any[rule.earlier]
        if rule.scope == "group":
            return self._group[rule.earlier][bank // BANKS_PER_GROUP]
        return self._bank[rule.earlier][bank]

    def in_time(self, kind: str, bank: int, now: int) -> bool:
        """No rule forbids the command; whether its bank is open is not asked."""
        return all(now - self.last(rule, bank) >= rule.least for rule in self.rules[kind])

    def four(self, now: int) -> bool:
        """tFAW allows an activation."""
        return len(self._acts) < 4 or now - self._acts[-4] >= self._faw

    def just_in_time(self, kind: str, bank: int, now: int) -> Iterator[str]:
        """Names of the rules that forbade it until the cycle before."""
        for rule in self.rules[kind]:
            if now - self.last(rule, bank) == rule.least:
                yield rule.name
        if kind == "act" and len(self._acts) >= 4 and now - self._acts[-4] == self._faw:
            yield "faw"

    def in_row_bus(self, now: int) -> bool:
        """No activation takes the row bus."""
        return now - self._any["act"] >= ACT_CYCLES
