"""The activation rows of a matmul: in which order they are read, and their way to the array."""

from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.config import ChipConfig
from isa.table import MATRIX
from rtl.accumulator import acc_address_bits, control_layout
from rtl.array import row_layout
from rtl.expand import Expander, operand_bits
from rtl.matrix_formats import activation_kind
from rtl.platform import place
from rtl.ports import ReadPort, command_layout, line_address_bits
from rtl.reader import LineReader


def tag_layout(config: ChipConfig) -> data.StructLayout:
    """What is to be known of a row when its line has come.

    ``part``: which R elements of the line; ``count``: how many are inside K; ``swap``: first row
    of a tile; ``control``: `control_layout`.
    """
    return data.StructLayout(
        {
            "part": unsigned(exact_log2(config.line_bytes // config.array_row_bytes)),
            "count": unsigned(config.rows.bit_length()),
            "swap": 1,
            "control": control_layout(config),
        }
    )


class RowSequence(wiring.Component):
    """Requests of a matmul's rows: for all panels of N, for all tiles of K, rows 0 .. M-1.

    Latency: the first request is there in the cycle after `start`; one per cycle.

    Members
    -------
    start : pulse; `command` must then stay until the last request is taken
    o : stream of ``addr`` (SRAM line) and ``tag`` (`tag_layout`)
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        request = {"addr": line_address_bits(config), "tag": tag_layout(config)}
        super().__init__(
            {
                "start": In(1),
                "command": In(command_layout(MATRIX)),
                "o": Out(stream.Signature(data.StructLayout(request))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, command = self._config, self.command
        address, tile_address = Signal(24), Signal(24)
        acc, panel_acc = (Signal(acc_address_bits(config)) for _ in range(2))
        m_left, k_left, n_left = Signal(16), Signal(16), Signal(16)
        first_row, first_tile = Signal(), Signal()
        last_row, last_tile, last_panel = Signal(), Signal(), Signal()
        m.d.comb += [
            last_row.eq(m_left == 1),
            last_tile.eq(k_left <= config.rows),
            last_panel.eq(n_left <= config.cols),
        ]
        self._request(m, address, acc, k_left, first_row, first_tile & ~command.mode)
        m.d.comb += self.o.payload.tag.control.last.eq(last_row & last_tile & last_panel)
        next_tile = Signal(24)
        m.d.comb += next_tile.eq(Mux(last_tile, command.a, tile_address + config.array_row_bytes))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [
                address.eq(address + command.astride),
                acc.eq(acc + 1),
                m_left.eq(m_left - 1),
                first_row.eq(last_row),
            ]
            with m.If(last_row):
                m.d.sync += [
                    address.eq(next_tile),
                    tile_address.eq(next_tile),
                    m_left.eq(command.m),
                    k_left.eq(Mux(last_tile, command.k, k_left - config.rows)),
                    first_tile.eq(last_tile),
                ]
                with m.If(last_tile):  # the next panel's rows lie behind this one's
                    m.d.sync += [panel_acc.eq(acc + 1), n_left.eq(n_left - config.cols)]
                    m.d.sync += self.o.valid.eq(~last_panel)
                with m.Else():
                    m.d.sync += acc.eq(panel_acc)
        with m.If(self.start):
            m.d.sync += [
                self.o.valid.eq(1),
                Cat(address, tile_address).eq(Cat(command.a, command.a)),
                Cat(acc, panel_acc).eq(Cat(command.acc[: len(acc)], command.acc[: len(acc)])),
                Cat(m_left, k_left, n_left).eq(Cat(command.m, command.k, command.n)),
                Cat(first_row, first_tile).eq(0b11),
            ]
        return m

    def _request(self, m, address, acc, k_left, first_row, overwrite) -> None:
        config, tag = self._config, self.o.payload.tag
        part_start = exact_log2(config.array_row_bytes)
        m.d.comb += [
            self.o.payload.addr.eq(address[exact_log2(config.line_bytes) :]),
            tag.part.eq(address[part_start:]),
            tag.count.eq(Mux(k_left > config.rows, config.rows, k_left)),
            tag.swap.eq(first_row),
            tag.control.valid.eq(1),
            tag.control.overwrite.eq(overwrite),
            tag.control.addr.eq(acc),
        ]


class RowFeeder(wiring.Component):
    """Reads the rows ahead of the array and gives them to it, tile by tile.

    Latency: a row is on `row` the cycle after it is taken from the read-ahead; one per cycle.
    Refused reads and tiles that are not ready make bubbles: `control.valid` and `row.swap` are 0.

    Members
    -------
    start, command : as in `RowSequence`
    tile_ready : the next tile's weights come early enough for its first row to be taken now
    tile_taken : pulse, the first row of a tile is taken: the shadows will be free
    last : pulse, the last row of the command is taken
    activations : SRAM port
    row : to the array (`row_layout`), in the same cycle as its `control` (`control_layout`)
    waiting_operand : in that cycle there is no row, as its tile is not ready
    waiting_bank : nor here, as the read of a row was refused
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "command": In(command_layout(MATRIX)),
                "tile_ready": In(1),
                "tile_taken": Out(1),
                "last": Out(1),
                "activations": Out(ReadPort(config)),
                "row": Out(row_layout(config)),
                "control": Out(control_layout(config)),
                "waiting_operand": Out(1),
                "waiting_bank": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        layout = tag_layout(config)
        m.submodules.sequence = sequence = RowSequence(config)
        m.submodules.reader = reader = LineReader(config, layout.size)
        wiring.connect(m, reader.port, wiring.flipped(self.activations))
        tag = Signal(layout)
        taken = Signal()
        part = Signal(8 * config.array_row_bytes)
        m.d.comb += [
            sequence.start.eq(self.start),
            sequence.command.eq(self.command),
            reader.i.valid.eq(sequence.o.valid),
            sequence.o.ready.eq(reader.i.ready),
            reader.i.payload.addr.eq(sequence.o.payload.addr),
            reader.i.payload.tag.eq(sequence.o.payload.tag),
            tag.eq(reader.o.payload.tag),
            reader.o.ready.eq(self.tile_ready | ~tag.swap),
            taken.eq(reader.o.valid & reader.o.ready),
            self.tile_taken.eq(taken & tag.swap),
            self.last.eq(taken & tag.control.last),
            part.eq(reader.o.payload.data.word_select(tag.part, len(part))),
        ]
        m.d.sync += [
            self.control.eq(tag.control),
            self.control.valid.eq(taken),
        ]
        self._wait(m, reader)
        self._place(m, platform, part, tag)
        return m

    def _wait(self, m: Module, reader: LineReader) -> None:
        refused = Signal(2)  # so many cycles later it would have brought a line
        m.d.sync += [
            refused.eq(Cat(reader.port.valid & ~reader.port.ready, refused)),
            self.waiting_operand.eq(reader.o.valid & ~reader.o.ready),
            self.waiting_bank.eq(~reader.o.valid & refused[-1]),
        ]

    def _place(self, m: Module, platform: object, part: Signal, tag) -> None:
        """The activations, registered, as operands; 0 outside K."""
        config = self._config
        element, bits = config.element, 8 * config.element_bytes
        make, placed = partial(Expander, element), []
        kind = activation_kind(m, config, self.command) if element == "fp8" else None
        unscaled = Const(0, operand_bits(element))
        for r in range(config.rows):
            code, inside = part.word_select(r, bits), tag.count > r
            if element == "fp8":
                inputs = {"kind": kind, "code": code, "scale": unscaled, "inside": inside}
                expander = place(m, platform, f"expander_{r}", "jx_expand", make, inputs)
                placed.append(expander["operand"])
            else:
                placed.append(Signal(operand_bits(element), name=f"a_{r}"))
                m.d.sync += placed[-1].eq(Mux(inside, code, 0))
        swap = Signal()
        m.d.sync += swap.eq(self.tile_taken)
        m.d.comb += self.row.eq(Cat(swap, *placed))
