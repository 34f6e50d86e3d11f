"""Bench of the accumulators: random tiles of sums and reads of the vector unit.

Parameters: `config` (of `ChipConfig.to_dict`), `cycles`, `rest` (probability of no row in a cycle).
"""

import random
from collections import deque

import cocotb
import numpy as np

from isa import numbers
from isa.config import ChipConfig
from rtl.accumulator import control_layout
from tb.agents import STATES, Ports, Pulse, cycle, reset, state_of
from tb.coverage import Coverage
from tb.runner import bench_parameters

_FEW_ROWS = 6  # where most sums go, so that they meet
_CANCELS = 0.2  # share of the sums that nearly cancel what is there


def random_sum() -> int:
    """Of every magnitude, sometimes zero, infinite or no number."""
    special = random.choice([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 1])
    near = random.getrandbits(1) << 31 | random.randint(110, 140) << 23 | random.getrandbits(23)
    return random.choice([special, near, near, near, random.getrandbits(32)])


class Columns:
    """Drives `control` and the sums that belong to it; keeps what the columns must hold."""

    def __init__(self, dut, config: ChipConfig, cover: Coverage, rest: float) -> None:
        self.dut, self.config, self.cover, self.rest = dut, config, cover, rest
        self.layout = control_layout(config)
        self.rows = np.zeros((config.cols, config.acc_rows), np.uint32)
        self.unknown = list(range(config.acc_rows))  # written before anything else
        idle = {"valid": 0, "overwrite": 0, "last": 0, "addr": 0}
        self.past = deque([idle] * (config.cols + 2), maxlen=config.cols + 2)  # newest first
        self.sums = [0] * config.cols

    def reading(self, row: int) -> bool:
        """A column adds to a row of that half in this cycle: column c, for the control of c cycles
        ago."""
        adds = [c for c in list(self.past)[: self.config.cols] if c["valid"] and not c["overwrite"]]
        half = self.config.acc_rows // 2
        return any((control["addr"] < half) == (row < half) for control in adds)

    @property
    def done_due(self) -> bool:
        """The last column wrote the matmul's last row in the cycle before."""
        ended = self.past[self.config.cols + 1]
        return bool(ended["valid"] and ended["last"])

    def idle(self) -> None:
        self.dut.control.value = 0
        for c in range(self.config.cols):
            getattr(self.dut, f"sums_{c}").value = 0

    def drive(self) -> None:
        control = {"valid": int(random.random() >= self.rest)}
        control |= {name: random.getrandbits(1) for name in ("overwrite", "last")}
        rows = random.choice([_FEW_ROWS, _FEW_ROWS, self.config.acc_rows])
        last = self.past[0]
        control["addr"] = random.choice([r for r in range(rows) if r != last["addr"]])
        if self.unknown:
            control |= {"valid": 1, "overwrite": 1, "addr": self.unknown.pop()}
        self._cover(control)
        self.past.appendleft(control)
        self.dut.control.value = self.layout.const(control).as_value().value
        self.sums = [self._next_sum(c) for c in range(len(self.sums))]
        for c, value in enumerate(self.sums):
            getattr(self.dut, f"sums_{c}").value = value

    def _next_sum(self, c: int) -> int:
        """For column c: anything, or the opposite of what it is added to but for one bit."""
        if random.random() >= _CANCELS:
            return random_sum()
        return int(self.rows[c, self.past[c + 1]["addr"]]) ^ 1 << 31 ^ 1 << random.randrange(23)

    def _cover(self, control: dict[str, int]) -> None:
        if control["valid"]:
            kind = "overwrite" if control["overwrite"] else "accumulate"
            before = self.past[1]
            again = before["valid"] and before["addr"] == control["addr"]
            self.cover.hit("row", kind, control["last"], "2" if again else "more")

    def sample(self) -> None:
        """Nothing to see here; `write` comes after the reads of this cycle."""

    def write(self) -> None:
        """What the columns write in this cycle: column c, for the control of c + 1 cycles ago."""
        for c, value in enumerate(self.sums):
            control = self.past[c + 1]
            if control["valid"]:
                row = control["addr"]
                old = 0 if control["overwrite"] else self.rows[c, row]
                self.rows[c, row] = value if control["overwrite"] else self._add(old, value)

    def _add(self, old: int, value: int) -> int:
        if self.config.element == "int8":
            return (int(old) + value) & 0xFFFFFFFF
        pair = np.array([old, value], np.uint32).view(np.float32)
        return int(numbers.add(pair[:1], pair[1:]).view(np.uint32)[0])


@cocotb.test()
async def tiles_and_reads(dut) -> None:
    """Each sum lands in its row; the vector unit reads whole rows, never in between two columns."""
    sizes = bench_parameters()
    config = ChipConfig.from_dict(sizes["config"], "bench")
    cover = Coverage("accumulator")
    kinds = ("overwrite", "accumulate")
    cover.point("row", {"mode": kinds, "last": (0, 1), "cycles since the same row": ("2", "more")})
    cover.point("read", {"is": STATES, "element": ("bf16", "int8")})
    cover.point("read of a row", {"written in the same cycle": (0, 1)})
    cover.point("read beside", {"additions in the other half": (0, 1)})
    columns, port = Columns(dut, config, cover, sizes["rest"]), Ports(dut, "acc_read")
    done, due, row = Pulse(dut, "done"), None, None
    port.set("valid", 0)
    port.set("addr", 0)
    await reset(dut, [columns, done])
    written = config.acc_rows + config.cols + 2  # cycles until all rows are
    for now in range(sizes["cycles"]):
        if row is None and now > written and random.random() < 0.5:
            row = random.randrange(random.choice([_FEW_ROWS, config.acc_rows]))
        port.set("valid", row is not None)
        addr = row if row is not None else random.randrange(config.acc_rows)
        port.set("addr", addr)
        seen = _Seen(port)
        await cycle(dut, [columns, done, seen])
        assert done.seen == columns.done_due
        assert seen.ready == (not columns.reading(addr)), "reads where no column does"
        if due is not None:
            assert seen.data == due, f"{seen.data:#x}, not {due:#x}"
        state = state_of(row is not None, seen.ready)
        cover.hit("read", state, config.element)
        due = None
        if state == "taken":
            due = int.from_bytes(columns.rows[:, row].astype("<u4").tobytes(), "little")
            writes = [columns.past[c + 1] for c in range(config.cols)]
            cover.hit("read of a row", int(any(w["valid"] and w["addr"] == row for w in writes)))
            cover.hit("read beside", int(columns.reading(config.acc_rows - 1 - row)))
            row = None
        columns.write()
    cover.save()


class _Seen:
    """The read port's outputs in this cycle."""

    def __init__(self, port: Ports) -> None:
        self.port = port

    def drive(self) -> None:
        """Nothing is driven."""

    def sample(self) -> None:
        self.ready, self.data = self.port.get("ready"), self.port.get("data")
