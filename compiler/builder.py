"""Builder: emits virtual instructions, keeps the scalar registers and the memory image in HBM."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from numpy.typing import NDArray

from compiler.virtual import Access, Buffer, FieldValue, Item, Label, VirtualOp
from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.content import Content, Piece
from isa.program import Reg

# Registers of a compiled decoder. r11 … r13 cache multiples of m (r13 walks through layers where
# they are a loop), r14 and r15 are scratch. Where attention goes by tiles of keys
# (`compiler.lower_tiles`), CONTEXT, LIMIT, PAST_BYTES and PAST_LOAD count from the first key of the
# tile that the new tokens are in.
NEW_TOKENS, PAST, DONE, M, PAST_NOW, CONTEXT, LIMIT = (Reg(i) for i in range(1, 8))
PAST_BYTES, M_BYTES, PAST_LOAD = Reg(8), Reg(9), Reg(10)
FETCH = PAST_NOW  # behind a pass's head: place of a load of keys that may move up
TILE = M_BYTES  # in attention, behind the store of new keys: first key of the tile
MULTIPLES = INDEX, OFFSET, PLACE = (Reg(11), Reg(12), Reg(13))  # the names: in the token loop
SLOT, ROW = INDEX, OFFSET  # in attention, in programs with slots: its record, its first token
WALK = PLACE  # behind the token loop, in programs with a loop over layers
SCRATCH, SCRATCH2 = Reg(14), Reg(15)
ZERO = Reg(0)


def round_up(value: int, unit: int) -> int:
    """The least multiple of ``unit`` that is not below ``value``."""
    return -(-value // unit) * unit


# Bytes of a buffer, for one of the layers that are alike (0: the first, or no such layers).
Make = Callable[[int], NDArray]


class HbmImage:
    """Lays out HBM: buffers behind each other, aligned; what they hold is made when it is wanted.

    Between `begin_layers` and `end_layers`, buffers belong to the first of several layers that are
    alike; those of each next layer lie `end_layers` bytes on.
    """

    def __init__(self, config: ChipConfig, stored: bool = True):
        self._alignment = config.hbm_alignment_bytes
        self._stored = stored  # else nothing is made
        self._pieces: list[Piece] = []
        self._placed: dict[tuple[str, int], list[Buffer]] = {}  # by name and size
        self._again: dict[tuple[str, int], list[Buffer]] = {}
        self._of_layer: list[tuple[int, int, Make]] | None = None  # address, size
        self._layers_from = 0
        self.size = 0

    def reserve(self, name: str, size: int) -> Buffer:
        """A buffer whose contents start as zeros."""
        address = self.size
        self.size += round_up(max(size, 1), self._alignment)
        return Buffer(name, "hbm", size, address, self._of_layer is not None)

    def place(self, name: str, size: int, make: Make) -> Buffer:
        """A buffer that holds these bytes when the program starts."""
        if earlier := self._again.get((name, size)):
            return earlier.pop(0)
        buffer = self.reserve(name, size)
        self._placed.setdefault((name, size), []).append(buffer)
        assert buffer.address is not None
        if self._of_layer is not None:
            self._of_layer.append((buffer.address, size, make))
        else:
            self._pieces.append(Piece(buffer.address, size, partial(make, 0)))
        return buffer

    def again(self) -> None:
        """The same operators come a second time: what was placed for them is there."""
        self._again = {key: list(buffers) for key, buffers in self._placed.items()}

    def begin_layers(self) -> Buffer:
        """What comes belongs to one layer of several; the place where the first one begins."""
        assert self._of_layer is None
        place = self.reserve("layers", 1)
        self._of_layer, self._layers_from = [], self.size
        return Buffer(place.name, "hbm", 0, self.size)

    def end_layers(self, count: int) -> int:
        """``count`` layers are alike: the distance in bytes from one to the next."""
        assert self._of_layer is not None
        stride = self.size - self._layers_from
        for layer in range(count if self._stored else 0):
            for address, size, make in self._of_layer:
                piece = Piece(address + layer * stride, size, partial(make, layer))
                self._pieces.append(piece)
        self.size = self._layers_from + count * stride
        self._of_layer = None
        return stride

    def contents(self) -> Content:
        """All that was placed."""
        return Content(self._pieces if self._stored else ())


class Builder:
    """Collects the program in order. ``chunk`` is the most tokens that one pass handles;
    ``loop``: the labels that begin and end the loop over layers, if there is one, ``layers``: the
    address of the first of them."""

    def __init__(self, config: ChipConfig, chunk: int, stored: bool = True):
        self.config = config
        self.chunk = chunk
        self.hbm = HbmImage(config, stored)
        self.loop: tuple[str, str] | None = None
        self.layers = 0
        self.items: list[Item] = []
        self._source = ""
        self._buffers = 0
        self._multiples: dict[int, Reg] = {}
        self._free = list(MULTIPLES)
        half = config.acc_rows // 2
        self._acc = tuple(Buffer(f"acc{i}", "acc", half, i * half) for i in range(2))
        self._next_acc = 0
        self.begins = True  # no product of this pass has been emitted
        self.fences: list[int] = []  # items that no load moves above: loops end here

    def start_pass(self, walks: bool = False) -> None:
        """Forget what registers hold: a loop begins; if it ``walks``, WALK is in use."""
        self.begins = True
        self._multiples.clear()
        self._free = [register for register in MULTIPLES if not (walks and register == WALK)]

    def forget_multiples(self) -> None:
        """All registers of multiples are free for the next ones."""
        self._multiples.clear()

    @contextmanager
    def changing_rows(self) -> Iterator[None]:
        """Inside, m is another one, and changes: no register caches its multiples."""
        free, self._free = self._free, []
        self._multiples.clear()
        yield
        self._free = free

    @contextmanager
    def loops(self, multiple: int) -> Iterator[None]:
        """Around loops: of the multiples of m, registers hold only this one."""
        self.scalar("sync")
        self._multiples.clear()
        self.rows(multiple)
        yield
        self._multiples.clear()
        self.fences.append(len(self.items))

    @contextmanager
    def working_for(self, source: str) -> Iterator[None]:
        """Instructions emitted inside belong to this ONNX node."""
        before, self._source = self._source, source
        yield
        self._source = before

    def emit(
        self,
        mnemonic: str,
        reads: tuple[Access, ...] = (),
        writes: tuple[Access, ...] = (),
        prefetch: bool = False,
        fields: dict[str, FieldValue] | None = None,
        setup: tuple[VirtualOp, ...] = (),
    ) -> None:
        """Append one instruction."""
        op = VirtualOp(mnemonic, dict(fields or {}), reads, writes, self._source, prefetch, setup)
        self.items.append(op)

    def scalar(self, mnemonic: str, **fields: FieldValue) -> None:
        """Append a sequencer instruction."""
        self.emit(mnemonic, fields=fields)

    def take(self, start: int) -> tuple[VirtualOp, ...]:
        """Take away the instructions from item ``start`` on: what a load needs before it."""
        taken, self.items = self.items[start:], self.items[:start]
        return tuple(item for item in taken if isinstance(item, VirtualOp))

    def label(self, name: str) -> Label:
        """Mark this place in the program."""
        mark = Label(name)
        self.items.append(mark)
        return mark

    def sram(self, name: str, size: int) -> Buffer:
        """Room in SRAM, in whole lines; placed by the allocator."""
        self._buffers += 1
        return Buffer(f"{name}#{self._buffers}", "sram", round_up(size, self.config.line_bytes))

    def accumulators(self) -> Buffer:
        """One half of the accumulators, alternating: one fills while the other drains."""
        self._next_acc ^= 1
        return self._acc[self._next_acc]

    def rows(self, multiple: int = 1) -> Reg:
        """A register that holds m · multiple; valid for the next instruction at least."""
        if multiple == 1:
            return M
        if multiple not in self._multiples:
            cached = len(self._multiples) < len(self._free)
            register = self._free[len(self._multiples)] if cached else SCRATCH2
            self.scalar("mul", rd=register, rs=M, x=multiple)
            if not cached:
                return register
            self._multiples[multiple] = register
        return self._multiples[multiple]

    def row_place(self, index: Reg, pitch: int, rows: Buffer) -> Reg:
        """A register with the place in HBM of row ``index``, ``pitch`` bytes being from row to row;
        it is SCRATCH, until something else is."""
        self.scalar("mul", rd=SCRATCH, rs=index, x=pitch // HBM_ATOM_BYTES)
        self.scalar("add", rd=SCRATCH, rs=SCRATCH, x=rows.at(0, HBM_ATOM_BYTES))
        return SCRATCH

    def load(
        self, name: str, source: Buffer, prefetch: bool = True, size: int | None = None
    ) -> Buffer:
        """Bring a whole buffer (``size`` bytes) from HBM to a new buffer in SRAM."""
        size = round_up(source.size if size is None else size, self.config.line_bytes)
        target = self.sram(name, size)
        fields: dict[str, FieldValue] = {
            "hbm": source.at(0, HBM_ATOM_BYTES),
            "sram": target.at(),
            "rows": 1,
            "bytes": size,
        }
        self.emit("load", (source.access(),), (target.access(),), prefetch, fields)
        return target
