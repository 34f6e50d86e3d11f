"""AXI4's rules of a master, checked on the port `axi_*` in each cycle."""

from isa.config import ChipConfig
from rtl.axi import BURST_INCR, beat_shift
from tb.agents import Ports, Stable
from tb.memory_agents import PAGE_BYTES

_REQUEST = ("id", "addr", "len", "size", "burst")


class AxiRules:
    """An agent that drives nothing. An offer stays until it is taken (IHI 0022, A3.2.1); bursts are
    aligned, INCR, of whole beats, and stay inside 4 KiB (A3.4.1); `wlast` marks a burst's end.
    """

    def __init__(self, dut, config: ChipConfig) -> None:
        self.axi, self.config = Ports(dut, "axi"), config
        self.stable = {channel: Stable(f"axi.{channel}") for channel in ("ar", "aw", "w")}
        self.lengths: list[int] = []  # beats of write bursts whose address was taken
        self.written: list[int] = []  # beats of write bursts whose last beat was taken
        self.beats = 0

    def idle(self) -> None:
        """Nothing is driven."""

    def drive(self) -> None:
        """Nothing is driven."""

    def sample(self) -> None:
        for channel in ("ar", "aw"):
            if self._taken(channel, _REQUEST):
                beats = self._check_burst(channel)
                if channel == "aw":
                    self.lengths.append(beats)
        if self._taken("w", ("data", "strb", "last")):
            self.beats += 1
            if self.axi.get("wlast"):
                self.written.append(self.beats)
                self.beats = 0
        while self.lengths and self.written:
            wanted, got = self.lengths.pop(0), self.written.pop(0)
            assert wanted == got, f"a write burst of {wanted} beats was ended after {got}"

    def _taken(self, channel: str, members: tuple[str, ...]) -> bool:
        valid = self.axi.get(f"{channel}valid")
        ready = self.axi.get(f"{channel}ready")
        offer = tuple(self.axi.get(channel + member) for member in members)
        self.stable[channel].check(valid, ready, offer)
        return bool(valid and ready)

    def _check_burst(self, channel: str) -> int:
        address, beats = self.axi.get(f"{channel}addr"), self.axi.get(f"{channel}len") + 1
        assert self.axi.get(f"{channel}size") == beat_shift(self.config)
        assert self.axi.get(f"{channel}burst") == BURST_INCR.value
        assert address % self.config.axi_bytes == 0, f"{channel}: {address:#x} is not aligned"
        end = address % PAGE_BYTES + beats * self.config.axi_bytes
        assert end <= PAGE_BYTES, f"{channel}: {beats} beats at {address:#x} cross 4 KiB"
        return beats
