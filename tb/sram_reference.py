"""Behavioural twins of the SRAM macros: one call is one clock cycle, on a list of integers."""

from dataclasses import dataclass, field


def bank_of(line: int, banks: int) -> int:
    """The bank of an SRAM line: its digits to the base 2 ``banks``, added up modulo ``banks``."""
    total = 0
    while line:
        line, digit = divmod(line, 2 * banks)
        total += digit
    return total % banks


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
    # Few addresses more often than others, so that reads follow writes of the same row.
    addresses = 1 << (depth - 1).bit_length()
    addr = dice.choice([dice.randrange(addresses), depth - 1, addresses - 1])
    return {"en": dice.random() < 0.8, "we": we, "addr": addr, "wdata": dice.getrandbits(width)}


def random_pair(dice, width: int, depth: int) -> dict[str, int]:
    """Port values of a random cycle of `Sram1R1W`; every third has both ports on one row."""
    addresses = 1 << (depth - 1).bit_length()
    raddr = dice.randrange(addresses)
    waddr = dice.choice([raddr, dice.randrange(addresses), dice.randrange(addresses)])
    ren, wen = dice.random() < 0.7, dice.random() < 0.7
    wdata = dice.getrandbits(width)
    return {"ren": ren, "raddr": raddr, "wen": wen, "waddr": waddr, "wdata": wdata}


def classify_access(
    ports: dict[str, int], before: dict[str, int], sizes: dict[str, int]
) -> tuple[str, str]:
    """What a cycle of `Sram1RW` does, given that of the cycle before, and where."""
    lanes = sizes["width"] // sizes["granule"]
    place = "inside" if ports["addr"] < sizes["depth"] else "beyond depth"
    if not ports["en"]:
        return "idle", place
    if ports["we"]:
        return "write" if ports["we"] == (1 << lanes) - 1 else "partial write", place
    written = before and before["en"] and before["we"] and before["addr"] == ports["addr"]
    return "read of what was just written" if written else "read", place


def classify_pair(
    ports: dict[str, int], before: dict[str, int], sizes: dict[str, int]
) -> tuple[str, str]:
    """The same of `Sram1R1W`; the address is that of the read, of a write alone its own."""
    reads, writes = ports["ren"], ports["wen"]
    address = ports["waddr"] if writes and not reads else ports["raddr"]
    place = "inside" if address < sizes["depth"] else "beyond depth"
    if reads and writes:
        return "both, same row" if ports["raddr"] == ports["waddr"] else "both", place
    return "read" if reads else "write" if writes else "none", place
