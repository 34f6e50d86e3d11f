"""Random programs that keep all engines busy at the same time, for back ends that must agree.

A program is a row of phases. In a phase the load engine fills one quarter of the SRAM, the matrix
unit reads the second, the vector unit works in the third, the store engine reads the fourth; then
the roles turn. The halves of the accumulators alternate. Between phases stands either a `sync` or
a barrier of semaphores, one for each ordered pair of engines.
"""

import random

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.program import Op, Reg, encode_program
from isa.table import Choice, Engine

ENGINES = (Engine.LOAD, Engine.STORE, Engine.MATRIX, Engine.VECTOR)
SOURCE_ATOM, TARGET_ATOM, HBM_ATOMS = 2048, 6144, 10240
_BINARY = ("vadd", "vsub", "vmul", "vmax", "vmin")
_UNARY = ("vmov", "vexp2", "vrecip", "vrsqrt", "vsum", "vrmax")


def random_memory(ops: list[Op], seed: int) -> NDArray[np.uint8]:
    """HBM with the program at 0 and blocks of fp32, of bf16, and of any bits at the source."""
    dice = np.random.default_rng(seed)
    memory = np.zeros(HBM_ATOMS * HBM_ATOM_BYTES, np.uint8)
    code = encode_program(ops)
    assert len(code) <= SOURCE_ATOM * HBM_ATOM_BYTES
    memory[: len(code)] = np.frombuffer(code, np.uint8)
    blocks = memory[SOURCE_ATOM * HBM_ATOM_BYTES : TARGET_ATOM * HBM_ATOM_BYTES].reshape(-1, 4096)
    for index, block in enumerate(blocks):
        values = dice.normal(0, 2.0 ** dice.integers(-8, 8), 1024).astype(np.float32)
        if index % 8 == 0:
            block[:] = dice.integers(0, 256, 4096)
        elif index % 2:
            block[:] = values.view(np.uint8)
        else:
            halves = dice.normal(0, 2, 2048).astype(np.float32).view(np.uint16)[1::2].copy()
            block[:] = halves.view(np.uint8)
    return memory


class ProgramMaker:
    """Makes the operations of one program for ``config``."""

    def __init__(self, config: ChipConfig, seed: int) -> None:
        self.config, self.dice = config, random.Random(seed)
        self.ops: list[Op] = []

    def program(self, phases: int) -> list[Op]:
        """The whole program, ended by `halt`."""
        barrier = False
        for phase in range(phases):
            queued = self._phase(phase)
            if barrier:  # the first operation of each engine waits for the last ones of the others
                for engine, ops in queued.items():
                    ops[0] = _with(ops[0], waits=[(_pair(e, engine), 1) for e in _others(engine)])
            barrier = self.dice.random() < 0.5 and phase + 1 < phases
            if barrier:
                for engine, ops in queued.items():
                    ops[-1] = _with(ops[-1], signals=[_pair(engine, e) for e in _others(engine)])
            while any(queued.values()):
                engine = self.dice.choice([engine for engine, ops in queued.items() if ops])
                self._emit(queued[engine].pop(0))
            if not barrier:
                self.ops.append(Op("sync"))
        return [*self.ops, Op("halt")]

    def _phase(self, phase: int) -> dict[Engine, list[Op]]:
        quarter = self.config.sram_bytes // 4
        half = self.config.acc_rows // 2
        places = [(phase + turn) % 4 * quarter for turn in range(4)]
        makers = {
            Engine.LOAD: lambda: self._dma("load", places[0], SOURCE_ATOM),
            Engine.MATRIX: lambda: self._matmul(places[1], phase % 2 * half),
            Engine.VECTOR: lambda: self._vector(places[2], (phase + 1) % 2 * half),
            Engine.STORE: lambda: self._dma("store", places[3], TARGET_ATOM),
        }
        nops = {Engine.LOAD: "lnop", Engine.STORE: "snop", Engine.MATRIX: "mnop"}
        queued = {}
        for engine, make in makers.items():
            count = self.dice.randint(1, 3 if engine != Engine.VECTOR else 6)
            queued[engine] = [make() for _ in range(count)]
            if self.dice.random() < 0.2:
                queued[engine].append(Op(nops.get(engine, "vnop")))
        return queued

    def _emit(self, op: Op) -> None:
        """Append ``op``, some of its operands by way of registers."""
        fields = dict(op.fields)
        for index, name in enumerate(fields):
            is_choice = isinstance(op.spec.format.slots[name].field, Choice)
            if not is_choice and self.dice.random() < 0.2:
                register = Reg(index + 1)
                self.ops.append(Op("add", {"rd": register, "rs": Reg(0), "x": fields[name]}))
                fields[name] = register
        self.ops.append(Op(op.mnemonic, fields, op.waits, op.signals))

    def _dma(self, mnemonic: str, place: int, atom: int) -> Op:
        dice, line = self.dice, self.config.line_bytes
        quarter, unit = self.config.sram_bytes // 4, self.config.hbm_alignment_bytes
        rows = dice.randint(1, 6)
        length = line * dice.randint(1, min(40, quarter // line // 8))
        sstride = length + line * dice.randrange(3)
        free = quarter - rows * sstride
        hstride = (-(-length // unit) + dice.randrange(3)) * unit // HBM_ATOM_BYTES
        step = unit // HBM_ATOM_BYTES
        return Op(
            mnemonic,
            {
                "hbm": atom + step * dice.randrange((4096 - rows * hstride) // step),
                "hstride": hstride,
                "sram": place + line * dice.randrange(free // line),
                "sstride": sstride,
                "rows": rows,
                "bytes": length,
            },
        )

    def _place(self, start: int, size: int, need: int, unit: int) -> int:
        """A multiple of ``unit`` such that ``need`` bytes from there lie inside the region."""
        assert need <= size, (need, size)
        return start + unit * self.dice.randrange((size - need) // unit + 1)

    def _matmul(self, place: int, acc: int) -> Op:
        dice, rows, cols = self.dice, self.config.rows, self.config.cols
        size = self.config.sram_bytes // 8  # activations in the first half, weights in the second
        m, k, n = dice.randint(1, 2 * rows), dice.randint(1, 4 * rows), dice.randint(1, 3 * cols)
        tiles, panels = -(-k // rows), -(-n // cols)
        astride = 2 * rows * (tiles + dice.randrange(2))
        layout = dice.choice(["normal", "transposed"])
        if layout == "normal":
            unit, count, wpanel = 2 * cols, k, 2 * cols
            wstride = unit * (panels + dice.randrange(2))
            if dice.random() < 0.6:  # packed: panel behind panel
                wstride, wpanel = unit, unit * k
            need = (k - 1) * wstride + (panels - 1) * wpanel + unit
        else:
            unit, count, wpanel = 2 * rows, n, 0
            wstride = unit * (tiles + dice.randrange(2))
            need = count * wstride
        return Op(
            "matmul",
            {
                "acc": acc + dice.randrange(self.config.acc_rows // 2 - m * panels + 1),
                "a": self._place(place, size, m * astride, 2 * rows),
                "astride": astride,
                "w": self._place(place + size, size, need, unit),
                "wstride": wstride,
                "wpanel": wpanel,
                "m": m,
                "k": k,
                "n": n,
                "layout": layout,
                "mode": dice.choice(["overwrite", "accumulate"]),
            },
        )

    def _vector(self, place: int, acc: int) -> Op:
        dice, lanes, size = self.dice, self.config.lanes, self.config.sram_bytes // 16
        mnemonic = dice.choice([*_BINARY, *_UNARY, "vmask", "vrot"])
        rows, cols = dice.randint(1, 6), dice.randint(1, 4 * lanes)
        rep = dice.randrange(4)
        if mnemonic == "vrot":
            cols = dice.randint(1, lanes) if dice.random() < 0.5 else lanes * dice.randint(2, 4)
            rep = dice.randrange(cols) if cols <= lanes else lanes * dice.randrange(cols // lanes)
        fields = {"rows": rows, "cols": cols, "dt": dice.choice(["f32", "bf16"])}
        fields["dst"], fields["dstride"] = self._rows(place, fields["dt"], rows, cols)
        fields["at"] = dice.choice(["f32", "bf16", "acc"])
        if fields["at"] == "acc":
            panels = -(-cols // self.config.cols)
            fields["astride"] = dice.randint(1, 9)
            span = rows + (panels - 1) * fields["astride"]
            fields["a"] = acc + dice.randrange(self.config.acc_rows // 2 - span + 1)
        else:
            fields["a"], fields["astride"] = self._rows(place + size, fields["at"], rows, cols)
        if mnemonic in _BINARY:
            fields["bt"] = dice.choice(["f32", "bf16", "col", "scalar"])
            dtype = "bf16" if fields["bt"] == "bf16" else "f32"
            fields["b"], fields["bstride"] = self._rows(place + 2 * size, dtype, rows, cols)
            fields["bstride"] *= dice.randrange(2)
        if fields.get("bt") == "scalar" or mnemonic == "vmask":
            value = np.float32(dice.gauss(0, 3)).view(np.uint32)
            fields["b"] = dice.choice([int(value), 0xFF800000, 0x7FC00001, 1])
        in_place = fields["at"] == fields["dt"] and not (mnemonic == "vrot" and cols > lanes)
        if in_place and dice.random() < 0.5:
            fields["dst"], fields["dstride"] = fields["a"], fields["astride"]
        spec = Op(mnemonic).spec
        fields["rep"] = rep
        return Op(mnemonic, {name: fields[name] for name in spec.uses if name in fields})

    def _rows(self, start: int, dtype: str, rows: int, cols: int) -> tuple[int, int]:
        """Address and stride of rows in a sixteenth of the SRAM."""
        unit = self.config.lanes * (4 if dtype == "f32" else 2)
        stride = unit * (-(-cols // self.config.lanes) + self.dice.randrange(3))
        return self._place(start, self.config.sram_bytes // 16, rows * stride, unit), stride


def _pair(sender: Engine, receiver: Engine) -> int:
    """The semaphore that one engine raises for another."""
    return 4 * ENGINES.index(sender) + ENGINES.index(receiver)


def _others(engine: Engine) -> list[Engine]:
    return [other for other in ENGINES if other != engine]


def _with(op: Op, waits: list = (), signals: list = ()) -> Op:
    return Op(op.mnemonic, op.fields, op.waits + tuple(waits), op.signals + tuple(signals))
