"""The other side of the vector unit's ports: SRAM, accumulators, command queue."""

import random
from collections import Counter

import numpy as np

from isa.table import BY_MNEMONIC, VECTOR, Choice
from rtl.ports import command_layout
from tb.vector_reference import Command, State


def payload(command: Command) -> int:
    """The command stream's payload, packed."""
    values = {"opcode": BY_MNEMONIC[command.mnemonic].opcode}
    for described in VECTOR.fields:
        value = getattr(command, described.name)
        if isinstance(described, Choice):
            value = described.values.index(value)
        values[described.name] = value
    return command_layout(VECTOR).const(values).as_value().value


class Surroundings:
    """One cycle at a time: `inputs()` gives what to drive, `outputs(values)` takes what came.

    Requests are refused with probability `refusal`; read data are there in the cycle after
    acceptance only, random otherwise. `state` is read and written like the real memories.
    """

    READS = ("a", "b", "acc_read")
    OUTPUTS = (
        "a_valid", "a_addr", "b_valid", "b_addr", "acc_read_valid", "acc_read_addr",
        "write_valid", "write_addr", "write_data", "write_mask", "command_ready", "done", "vectors",
        "waiting_bank", "waiting_operand",
    )  # fmt: skip

    def __init__(self, state: State, refusal: float, seed: int):
        self.state, self.refusal = state, refusal
        self.dice = random.Random(seed)
        self.data: dict[str, int] = {}
        self.command: int | None = None
        self.cycles = self.vectors = self.reads = 0
        self.refused: Counter[str] = Counter()
        self.done = False

    def issue(self, command: Command) -> None:
        """Offer a command; `done` becomes true when the unit has executed it."""
        self.command, self.done = payload(command), False
        self.cycles = self.vectors = self.reads = 0

    def inputs(self) -> dict[str, int]:
        config = self.state.config
        widths = {"a": config.line_bytes, "b": config.line_bytes, "acc_read": 4 * config.cols}
        ports = {f"{name}_ready": self.dice.random() >= self.refusal for name in (*widths, "write")}
        for name, size in widths.items():
            ports[f"{name}_data"] = self.data.pop(name, self.dice.getrandbits(8 * size))
        ports["command_valid"] = self.command is not None
        ports["command_payload"] = self.command or 0
        self._ready = ports
        return {name: int(value) for name, value in ports.items()}

    def outputs(self, values: dict[str, int]) -> None:
        accepted = {
            name: values[f"{name}_valid"] and self._ready[f"{name}_ready"]
            for name in (*self.READS, "write")
        }
        refused = {name for name in accepted if values[f"{name}_valid"] and not accepted[name]}
        self.refused.update(refused)
        bank = bool(refused - {"acc_read"})
        waiting = (values["waiting_bank"], values["waiting_operand"])
        assert waiting == (bank, bool(refused) and not bank), f"{refused}: waiting {waiting}"
        for name in self.READS:
            if accepted[name]:
                self.data[name] = self._line(name, values[f"{name}_addr"])
                self.reads += 1
        if accepted["write"]:
            self._write(values["write_addr"], values["write_data"], values["write_mask"])
        self.cycles += self.command is None
        self.vectors += values["vectors"]
        if self.command is not None and values["command_ready"]:
            self.command = None
        self.done = bool(values["done"])

    def _line(self, name: str, number: int) -> int:
        if name == "acc_read":
            return int.from_bytes(self.state.acc[number].tobytes(), "little")
        size = self.state.config.line_bytes
        return int.from_bytes(self.state.sram[number * size : (number + 1) * size], "little")

    def _write(self, number: int, line: int, mask: int) -> None:
        config = self.state.config
        raw = np.frombuffer(line.to_bytes(config.line_bytes, "little"), np.uint8)
        size = config.byte_vector_bytes
        for granule in range(config.line_bytes // size):
            if mask >> granule & 1:
                start = number * config.line_bytes + granule * size
                self.state.sram[start : start + size] = raw[granule * size : (granule + 1) * size]
