"""BankedSram: the core's scratchpad, single-port banks behind one arbiter for each."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.memory import Sram1RW
from rtl.ports import ReadPort, WritePort, line_address_bits
from rtl.sram_parity import ParityBank
from rtl.timing import bank_digit_bits

# In order of priority. The array's timing depends on its weights: their port is never refused.
CLIENTS = (
    "matrix_weights",
    "matrix_activations",
    "load_write",
    "load_list",
    "vector_write",
    "vector_a",
    "vector_b",
    "store_read",
)
WRITERS = ("load_write", "vector_write")
READERS = tuple(name for name in CLIENTS if name not in WRITERS)


class BankedSram(wiring.Component):
    """Line n lies in bank (sum of n's digits) mod ``config.sram_banks``, digits of
    `timing.bank_digit_bits`; different banks are accessed together.

    Latency: data 1 cycle after acceptance, in that cycle only. Throughput: one access per bank and
    cycle; of two clients that want the same bank, the later one in `CLIENTS` is refused. A read
    accepted after a write returns what was written.

    Members: a `ReadPort` or `WritePort` for each name in `CLIENTS` (flipped); `refused` is 1 in a
    cycle in which any client was refused. With ``sram_ecc = "parity"``, `failed` and `failed_line`:
    a line that was read has a wrong parity. `banks` are the macros.
    """

    def __init__(self, config: ChipConfig):
        granule = 8 * config.byte_vector_bytes
        self._bank_bits = (config.sram_banks - 1).bit_length()
        line_bits = line_address_bits(config)
        digit_bits = bank_digit_bits(config.sram_banks)
        self._digits = range(0, line_bits, digit_bits)  # where they begin
        self._checked = config.sram_ecc == "parity"
        make = ParityBank if self._checked else Sram1RW
        sizes = 8 * config.line_bytes, config.bank_lines, granule
        self.banks = [make(*sizes) for _ in range(config.sram_banks)]
        read = {name: In(ReadPort(config)) for name in READERS}
        write = {name: In(WritePort(config)) for name in WRITERS}
        ports = read | write
        errors = {"refused": Out(1), "failed": Out(1), "failed_line": Out(line_bits)}
        super().__init__({name: ports[name] for name in CLIENTS} | errors)

    def elaborate(self, platform):
        m = Module()
        banks = self._arbitrate(m)
        for index, bank in enumerate(self.banks):
            m.submodules[f"bank_{index}"] = bank
            self._connect(m, bank, index, banks)
        self._return_data(m, banks)
        if self._checked:
            self._report(m)
        return m

    def _report(self, m):
        """The line of the first bank that found an error."""
        for index, bank in reversed(list(enumerate(self.banks))):
            with m.If(bank.failed):
                m.d.comb += [
                    self.failed.eq(1),
                    self.failed_line.eq(self._line(index, bank.failed_addr)),
                ]

    def _bank(self, line):
        return sum(line[at:][: self._bank_bits] for at in self._digits)[: self._bank_bits]

    def _line(self, bank, row):
        """The inverse: of a line, its row in the bank has all but the lowest bits."""
        above = sum(row[at - self._bank_bits :][: self._bank_bits] for at in self._digits[1:])
        return Cat((bank - above)[: self._bank_bits], row)

    def _arbitrate(self, m):
        """Drive every `ready`; returns the bank that each client addresses."""
        banks, refusals = {}, []
        for position, name in enumerate(CLIENTS):
            port = getattr(self, name)
            banks[name] = Signal(self._bank_bits, name=f"{name}_bank")
            m.d.comb += banks[name].eq(self._bank(port.addr))
            blocked = Signal(name=f"{name}_blocked")
            m.d.comb += blocked.eq(
                Cat(
                    getattr(self, other).valid & (banks[other] == banks[name])
                    for other in CLIENTS[:position]
                ).any()
            )
            m.d.comb += port.ready.eq(~blocked)
            refusals.append(port.valid & blocked)
        m.d.comb += self.refused.eq(Cat(refusals).any())
        return banks

    def _connect(self, m, bank, index, banks):
        """Hand the bank's one access of the cycle to it."""
        takes = {}
        for name in reversed(CLIENTS):  # the client of the highest priority is assigned last
            port = getattr(self, name)
            takes[name] = Signal(name=f"bank_{index}_{name}")
            m.d.comb += takes[name].eq(port.valid & (banks[name] == index))
            with m.If(takes[name]):
                m.d.comb += [
                    bank.en.eq(1),
                    bank.addr.eq(port.addr >> self._bank_bits),
                    bank.we.eq(port.mask if name in WRITERS else 0),
                ]
        first, second = (getattr(self, name).data for name in WRITERS)
        m.d.comb += bank.wdata.eq(Mux(takes[WRITERS[0]], first, second))

    def _return_data(self, m, banks):
        """Give each reader the line of the bank that it addressed in the cycle before."""
        for name in READERS:
            port = getattr(self, name)
            source = Signal(self._bank_bits, name=f"{name}_source")
            m.d.sync += source.eq(banks[name])
            with m.Switch(source):
                for index, bank in enumerate(self.banks):
                    with m.Case(index):
                        m.d.comb += port.data.eq(bank.rdata)
