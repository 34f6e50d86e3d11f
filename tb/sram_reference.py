"""Behavioural twins of the SRAM macros: one call is one clock cycle, on a list of integers."""

from dataclasses import dataclass, field


@dataclass
class Reference1RW:
    """Twin of `rtl.memory.Sram1RW`; `granule` in bits."""

    width: int
    depth: int
    granule: int
    rows: dict[int, int] = field(default_factory=dict)
    rdata: int = 0

    def cycle(self, en: int, we: int, addr: int, wdata: int) -> int:
        """`rdata` after the clock edge at which the other ports had these values."""
        if en and not we:
            self.rdata = self.rows.get(addr, 0)
        elif en and addr < self.depth:
            lanes = range(self.width // self.granule)
            ones = (1 << self.granule) - 1
            mask = sum(ones << lane * self.granule for lane in lanes if we >> lane & 1)
            self.rows[addr] = self.rows.get(addr, 0) & ~mask | wdata & mask
        return self.rdata


@dataclass
class Reference1R1W:
    """Twin of `rtl.memory.Sram1R1W`."""

    width: int
    depth: int
    rows: dict[int, int] = field(default_factory=dict)
    rdata: int = 0

    def cycle(self, ren: int, raddr: int, wen: int, waddr: int, wdata: int) -> int:
        """`rdata` after the clock edge at which the other ports had these values."""
        if ren:
            self.rdata = self.rows.get(raddr, 0)
        if wen and waddr < self.depth:
            self.rows[waddr] = wdata
        return self.rdata


def random_access(dice, width: int, depth: int, granule: int) -> dict[str, int]:
    """Port values of a random cycle of `Sram1RW`: idle, read, full write or partial write."""
    lanes = width // granule
    we = dice.choice([0, 0, dice.getrandbits(lanes), (1 << lanes) - 1])
    addr = dice.randrange(1 << (depth - 1).bit_length())
    return {"en": dice.random() < 0.8, "we": we, "addr": addr, "wdata": dice.getrandbits(width)}


def random_pair(dice, width: int, depth: int) -> dict[str, int]:
    """Port values of a random cycle of `Sram1R1W`; every third has both ports on one row."""
    addresses = 1 << (depth - 1).bit_length()
    raddr = dice.randrange(addresses)
    waddr = dice.choice([raddr, dice.randrange(addresses), dice.randrange(addresses)])
    ren, wen = dice.random() < 0.7, dice.random() < 0.7
    wdata = dice.getrandbits(width)
    return {"ren": ren, "raddr": raddr, "wen": wen, "waddr": waddr, "wdata": wdata}
