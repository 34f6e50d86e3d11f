"""RowSequence and TileSteps: a matmul's rows and weights, tile by tile, each once, in order."""

from amaranth.hdl import Mux, Signal

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from formal.sizes import SMALL
from isa.table import WEIGHT_FORMATS
from rtl.array import group_rows
from rtl.matrix_rows import RowSequence
from rtl.matrix_steps import TileSteps

_CONFIG = SMALL.replace(element="int8")
_SIZES = {"m": 2, "k": 4, "n": 4}  # bits
_ADDRESS_BITS = 24


def _free_command(bench: Bench, command, addresses: tuple[str, ...]) -> None:
    """Any sizes up to 3 × 15 × 15: four tiles along K and along N, the last of each not full."""
    for name, bits in _SIZES.items():
        size = bench.symbol(name, bits)
        bench.m.d.comb += command[name].eq(size)
        bench.assume(size != 0)
    for name in addresses:
        bench.m.d.comb += command[name].eq(bench.symbol(name, 5) << 2)
    bench.m.d.comb += command.wf.eq(WEIGHT_FORMATS.index("i8"))


class _Loops:
    """Panels of N around tiles of K around ``inner`` steps of 0, 1, ...

    ``panel``, ``tile``, ``step``: where it is; ``k``, ``n``: rows and columns inside the tile;
    ``k_left``: rows of K from the tile on.
    """

    def __init__(self, bench: Bench, start, command, taken, inner, by=1) -> None:
        m, rows, cols = bench.m, _CONFIG.rows, _CONFIG.cols
        self.busy = Signal()
        self.panel, self.tile, self.step = Signal(3), Signal(3), Signal(3)
        self.k_left, n_left = Signal(4), Signal(4)  # from the tile, the panel on
        m.d.comb += self.k_left.eq(command.k[:4] - self.tile * rows)
        m.d.comb += n_left.eq(command.n[:4] - self.panel * cols)
        self.step_over = self.step + by == inner
        self.tile_over, self.panel_over = self.k_left <= rows, n_left <= cols
        self.k, self.n = Signal(4), Signal(4)
        m.d.comb += [
            self.k.eq(Mux(self.tile_over, self.k_left, rows)),
            self.n.eq(Mux(self.panel_over, n_left, cols)),
        ]
        bench.assume(implies(start, ~self.busy))
        with m.If(start):
            m.d.sync += [self.busy.eq(1), self.panel.eq(0), self.tile.eq(0), self.step.eq(0)]
        with m.Elif(taken & ~self.step_over):
            m.d.sync += self.step.eq(self.step + by)
        with m.Elif(taken):
            m.d.sync += [self.step.eq(0), self.tile.eq(self.tile + 1)]
            with m.If(self.tile_over):
                m.d.sync += [self.tile.eq(0), self.panel.eq(self.panel + 1)]
                m.d.sync += self.busy.eq(~self.panel_over)
        self.over = taken & self.step_over & self.tile_over & self.panel_over


@proof(
    RowSequence,
    Mutant("acc.eq(panel_acc)", "acc.eq(acc + 1)"),
    Mutant("first_row.eq(last_row)", "first_row.eq(last_tile)"),
    Mutant("Mux(last_tile, command.a, tile_address", "Mux(last_tile, address, tile_address"),
    Mutant("first_tile.eq(last_tile)", "first_tile.eq(0)"),
    depth=9,
    quick=False,
)
def rows(bench: Bench, unit: type) -> None:
    """For each panel, for each tile, rows 0 .. M-1: address, accumulator row, what is inside K;
    the first row of a tile swaps the weights in, the first tile of a panel overwrites."""
    sequence = bench.add("sequence", unit(_CONFIG))
    command, o = sequence.command, sequence.o
    _free_command(bench, command, ("a", "astride"))
    bench.m.d.comb += [
        command.acc.eq(bench.symbol("acc", 4)),
        command.mode.eq(bench.symbol("mode")),
    ]
    loops = _Loops(bench, sequence.start, command, o.valid & o.ready, command.m)
    place, control = o.payload, o.payload.tag.control
    address = Signal(_ADDRESS_BITS)
    along_m = sum(Mux(loops.step[i], command.astride << i, 0) for i in range(2))
    along_n = sum(Mux(loops.panel[i], command.m[:2] << i, 0) for i in range(2))
    bench.m.d.comb += address.eq(command.a + along_m + (loops.tile << 2))
    bench.prove(o.valid == loops.busy)
    with bench.m.If(o.valid):
        bench.prove(place.addr == (address >> 3)[: len(place.addr)])
        bench.prove(place.tag.part == address[2])
        bench.prove(place.tag.count == loops.k)
        bench.prove(place.tag.swap == (loops.step == 0))
        bench.prove(control.addr == (command.acc + along_n + loops.step)[: len(control.addr)])
        bench.prove(control.overwrite == ((loops.tile == 0) & ~command.mode))
        bench.prove(control.valid)
    bench.prove(implies(o.valid & o.ready, control.last == loops.over))
    bench.reach(loops.over & (loops.panel == 1) & (loops.tile == 1) & (loops.step == 1))


@proof(
    TileSteps,
    Mutant("inside.eq(~last_step)", "inside.eq(~last_step & self.go)"),
    Mutant("step.packed.eq(Mux(inside, packed, place.dense))", "step.packed.eq(place.dense)"),
    Mutant(
        "self.begins.eq(waits & ~step.scales & self.go)", "self.begins.eq(waits & ~step.scales)"
    ),
    Mutant("step.index < step.n_count", "step.index <= step.n_count"),
    depth=12,
    quick=False,
)
def steps(bench: Bench, unit: type) -> None:
    """For each panel, for each tile: its rows in groups, its rows, or transposed its columns, each
    step at its address, without a gap behind the first; what lies outside K and N is not read."""
    tiles = bench.add("tiles", unit(_CONFIG))
    m, command, step = bench.m, tiles.command, tiles.step
    _free_command(bench, command, ("w", "wstride", "wpanel"))
    m.d.comb += command.layout.eq(bench.symbol("layout"))
    group = group_rows(_CONFIG)
    by = Mux(step.packed, group, 1)
    inner = Mux(command.layout, _CONFIG.cols, _CONFIG.rows)
    loops = _Loops(bench, tiles.start, command, step.valid, inner, by)
    inside = loops.step != 0
    bench.prove(~step.scales)
    bench.prove(tiles.begins == (loops.busy & ~inside & tiles.go))
    bench.prove(step.valid == (tiles.begins | inside))
    packed = bench.past(step.packed)
    with m.If(step.valid):
        bench.prove(step.index == loops.step)
        bench.prove(step.transposed == command.layout)
        bench.prove(implies(inside, step.packed == packed))
        bench.prove(implies(step.packed, ~command.layout & (command.wstride == _CONFIG.cols)))
        bench.prove(step.n_count == loops.n)
        left = Mux(loops.k_left > loops.step, loops.k_left - loops.step, 0)  # of K, from here on
        from_row = Mux(left > _CONFIG.rows, _CONFIG.rows, left)
        bench.prove(step.k_count == Mux(command.layout, loops.k, from_row))
        wanted = Mux(command.layout, loops.step < loops.n, left != 0)
        bench.prove(tiles.read == wanted)
    panel_at, row_at = Signal(_ADDRESS_BITS), Signal(_ADDRESS_BITS)
    next_panel = Mux(tiles.start, command.w, panel_at + command.wpanel)
    with m.If(tiles.start | (step.valid & loops.step_over & loops.tile_over)):
        m.d.sync += [panel_at.eq(next_panel), row_at.eq(next_panel)]
    with m.Elif(step.valid & loops.step_over & command.layout):
        m.d.sync += row_at.eq(panel_at)
    with m.Elif(step.valid):
        m.d.sync += row_at.eq(row_at + Mux(step.packed, command.wstride * group, command.wstride))
    address = (row_at + Mux(command.layout, loops.tile << 2, 0))[:_ADDRESS_BITS]
    bench.prove(implies(tiles.read, tiles.addr == address))
    bench.prove(implies(tiles.read, step.offset == address[:3]))
    bench.reach(loops.over & step.packed & (loops.tile == 1))
    bench.reach(loops.over & command.layout & (loops.tile == 1))
