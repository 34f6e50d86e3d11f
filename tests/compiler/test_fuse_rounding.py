"""Copies in bf16 that what makes the numbers can write itself; and those that it must not."""

import pytest

from compiler import builder as b
from compiler.fuse_rounding import fuse_rounding
from compiler.virtual import Buffer, FieldValue, Item, Label, VirtualOp
from isa.config import load_config
from isa.program import Reg

TINY = load_config("tiny")  # 8 lanes
X, T, COPY, ACC = (
    Buffer("x", "sram", 512),
    Buffer("t", "sram", 512),
    Buffer("copy", "sram", 256),
    Buffer("acc", "acc", 64, 0),
)


def make(
    mnemonic: str = "vmul",
    first: int = 0,
    cols: int = 24,
    reads: tuple[Buffer, ...] = (X,),
    **more: FieldValue,
) -> VirtualOp:
    """Columns of t, fp32 rows of 24 numbers."""
    fields: dict[str, FieldValue] = {"a": reads[0].at(), "rows": b.M, "cols": cols}
    fields |= {"dst": T.at(4 * first), "dstride": 96} | more
    return VirtualOp(mnemonic, fields, tuple(x.access() for x in reads), (T.access(),))


def copy(**more: FieldValue) -> VirtualOp:
    """All of t, in bf16."""
    fields: dict[str, FieldValue] = {"a": T.at(), "astride": 96, "dst": COPY.at(32)}
    fields |= {"dstride": 64, "rows": b.M, "cols": 24, "dt": "bf16"} | more
    return VirtualOp("vmov", fields, (T.access(),), (COPY.access(),))


def read(buffer: Buffer) -> VirtualOp:
    return VirtualOp("vmul", {}, (buffer.access(),), (X.access(),))


def fused(*items: Item) -> list[Item]:
    return fuse_rounding(list(items), [], TINY)[0]


def test_the_maker_writes_the_copy() -> None:
    (found,) = fused(make())
    assert found == make()
    (found,) = fused(make(), copy())
    assert isinstance(found, VirtualOp)
    assert found.mnemonic == "vmul"
    written = {name: found.fields[name] for name in ("dst", "dstride", "dt", "cols")}
    assert written == {"dst": COPY.at(32), "dstride": 64, "dt": "bf16", "cols": 24}
    assert (found.reads, found.writes) == ((X.access(),), (COPY.access(),))


def test_several_makers_write_their_columns() -> None:
    first, second = fused(make(first=8, cols=16), make("vmov", cols=8, at="acc"), copy())
    assert isinstance(first, VirtualOp)
    assert isinstance(second, VirtualOp)
    assert (first.fields["dst"], second.fields["dst"]) == (COPY.at(48), COPY.at(32))


def test_the_only_maker_may_read_what_it_overwrites() -> None:
    assert len(fused(make(), make(reads=(T, X)), copy(), read(COPY))) == 3
    halves = make(cols=8), make(first=8, cols=16, reads=(T,))
    assert len(fused(*halves, copy())) == 3  # the second one may read what the first has made


def test_indices_follow() -> None:
    items = [make(), copy(), read(COPY), read(COPY)]
    assert fuse_rounding(items, [0, 1, 2, 3], TINY)[1] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    "items",
    [
        pytest.param((make(), copy(), read(T)), id="read later"),
        pytest.param((make(), read(T), copy()), id="read before"),
        pytest.param((make(), copy(), copy(dst=X.at())), id="copied twice"),
        pytest.param((make(), read(COPY), copy()), id="the copy's room is in use"),
        pytest.param((read(T), make(), copy()), id="read before it is made: in a loop"),
        pytest.param((make(), Label("loop"), copy()), id="a loop between"),
        pytest.param((Label("loop"), make(), Label("in"), make(), copy()), id="begun before"),
        pytest.param((make(cols=16), copy()), id="not all columns"),
        pytest.param((make(cols=16), make(first=8, cols=8), copy()), id="twice the same"),
        pytest.param((make(cols=12), make(first=12, cols=12), copy()), id="parts of vectors"),
        pytest.param((make(rows=Reg(11)), copy(rows=Reg(11))), id="rows that may change"),
        pytest.param((make(rows=1), copy()), id="other rows"),
        pytest.param((make(dstride=192), copy()), id="other distances"),
        pytest.param((make("vsum"), copy()), id="a sum"),
        pytest.param((make("load"), copy()), id="a load"),
        pytest.param((make(dt="i8"), copy(at="i8")), id="codes"),
        pytest.param((make(), copy(dt="f32")), id="no rounding"),
        pytest.param((make(), copy(dst=Reg(14))), id="a place in a register"),
    ],
)
def test_reject(items: tuple[Item, ...]) -> None:
    assert fused(*items) == list(items)
