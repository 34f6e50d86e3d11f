"""The static checker: it accepts what is synchronised and names what is not."""

from dataclasses import replace

import numpy as np
import pytest

from compiler.canonical import canonicalise
from compiler.pipeline import compile_graph
from isa.config import load_config
from isa.image import ProgramImage
from isa.program import Op, Reg, decode_program, encode_program
from sim.check import check_image, corner_cases
from sim.checker import CheckError
from sim.footprint import footprint
from sim.functional import FunctionalCore
from sim.scalar import ScalarMachine
from tests.compiler.decoder import decoder
from tests.support import rng

TINY = load_config("tiny")
LOAD = {"hbm": 64, "rows": 1, "bytes": 64}
MOVE = {"dst": 4096, "rows": 2, "cols": 8, "astride": 32, "dstride": 32}
HALT = Op("halt")


def image(*ops: Op) -> ProgramImage:
    return ProgramImage.from_ops(TINY, [*ops, HALT], hbm_bytes=1 << 16)


def refused(*ops: Op) -> str:
    with pytest.raises(CheckError) as caught:
        check_image(image(*ops))
    return str(caught.value)


@pytest.fixture(scope="module")
def compiled() -> ProgramImage:
    return compile_graph(canonicalise(decoder(), 40, "model"), TINY)


def test_accepts_what_semaphores_order():
    ops = (Op("load", LOAD, signals=(3,)), Op("vmov", MOVE, waits=((3, 1),)))
    assert check_image(image(*ops)) == 3


def test_accepts_what_sync_orders():
    assert check_image(image(Op("load", LOAD), Op("sync"), Op("vmov", MOVE))) == 4


def test_accepts_transitive_order_and_disjoint_rows():
    mul = Op("matmul", {"a": 8192, "w": 8192 + 4096, "wstride": 16, "m": 1, "k": 8, "n": 8})
    between = replace(mul, waits=((0, 1),), signals=(1,))
    third = Op("vmov", MOVE, waits=((1, 1),))
    assert check_image(image(Op("load", LOAD, signals=(0,)), between, third)) == 4
    # Rows of the two sources interleave: bounds overlap, bytes do not.
    even = Op("load", {"hbm": 64, "hstride": 1, "sstride": 64, "rows": 4, "bytes": 32})
    odd = Op("vmov", {"dst": 4096, "a": 32, "astride": 64, "dstride": 32, "rows": 4, "cols": 8})
    assert check_image(image(even, odd)) == 3


def test_refuses_an_unguarded_hazard_of_each_kind():
    read = refused(Op("load", LOAD), Op("vmov", MOVE))
    assert read == (
        "instruction 1 (vmov): reads sram 0x0 with no semaphore after instruction 0 (load)"
    )
    assert "writes sram 0x0" in refused(Op("vmov", MOVE), Op("load", LOAD))
    both = Op("vmov", {**MOVE, "dst": 0, "a": 4096})
    assert "writes sram 0x0" in refused(Op("load", LOAD), both)
    assert "reads hbm 0x1000" in refused(Op("store", LOAD), Op("load", {**LOAD, "sram": 8192}))
    acc = Op("vmov", {"dst": 4096, "rows": 1, "cols": 8, "at": "acc"})
    mul = Op("matmul", {"w": 256, "wstride": 16, "m": 1, "k": 8, "n": 8})
    assert "reads acc 0x0" in refused(mul, acc)


def test_what_lies_between_two_syncs_is_checked_with_all_its_operands():
    def twice(first: int) -> list[Op]:
        """Loads to SRAM ``first``, then 8192 before it."""
        r1 = Reg(1)
        return [
            Op("add", {"rd": r1, "rs": Reg(0), "x": first}),
            Op("load", {**LOAD, "sram": r1}),
            Op("vmov", MOVE),
            Op("sync"),
            Op("sub", {"rd": r1, "rs": r1, "x": 8192}),
            Op("beq", {"rs": r1, "x": first - 8192, "y": 1}),
        ]

    assert check_image(image(*twice(24576))) == 7
    assert "instruction 2 (vmov): reads sram 0x0 with no" in refused(*twice(8192))
    # What is wrong before a program stops is told, not that it stops.
    outside = Op("ld", {"rd": Reg(2), "x": 1 << 20})
    assert "reads sram 0x0" in refused(Op("load", LOAD), Op("vmov", MOVE), outside)


def test_planes_are_followed_to_their_last_row():
    planes = {"planes": 3, "hplane": 4, "splane": 4096, "rows": 2, "sstride": 64, "hstride": 1}
    load = Op("load", {**LOAD, **planes, "bytes": 9})
    last = 2 * 4096 + 64
    places = ((last, True), (last + 8, True), (last + 16, False), (4096 - 8, False))
    for place, refuses in places:  # a row is filled up to 16 bytes
        move = Op("vmov", {**MOVE, "dst": 16384, "a": place, "rows": 1, "cols": 4, "at": "i8"})
        if refuses:
            assert f"reads sram 0x{place:x}" in refused(load, move)
        else:
            assert check_image(image(load, move)) == 3
    store = Op("store", {**LOAD, **planes, "bytes": 9, "offset": 60})
    ld = {"rd": Reg(1), "x": 64 + 8 + 1}
    assert "reads hbm" in refused(store, Op("ld", {**ld, "y": 60}))
    assert check_image(image(store, Op("ld", {**ld, "y": 56}))) == 3


def test_gather_may_read_all_memory_from_its_first_row_on():
    fields = {"hbm": 65, "hstride": 1, "rows": 9, "sstride": 64, "bytes": 64, "hplane": 8192}
    gather = Op("gather", fields)
    store = Op("store", {"hbm": 500, "sram": 12288, "rows": 1, "bytes": 1})
    assert "reads hbm" in refused(store, gather)
    early = Op("store", {"hbm": 64, "sram": 12288, "rows": 1, "bytes": 64})
    assert check_image(image(early, gather)) == 3
    numbers = Op("vmov", {"dst": 8224, "a": 12288, "rows": 1, "cols": 8})
    assert "reads sram 0x2000" in refused(numbers, gather)
    assert "hplane must keep rows apart" in refused(Op("gather", {**fields, "hplane": 512}))


def test_refuses_scalar_loads_that_race_with_stores():
    ld = Op("ld", {"rd": Reg(1), "x": 64})
    assert "reads hbm 0x1000" in refused(Op("store", LOAD), ld)


def test_refuses_semaphores_that_deadlock_or_are_ambiguous():
    wait = Op("vmov", MOVE, waits=((3, 1),))
    assert refused(wait) == (
        "instruction 0 (vmov): waits for semaphore s3, which nothing before signals"
    )
    two = (Op("lnop", signals=(3,)), Op("snop", signals=(3,)))
    assert "s3 has a second signalling engine" in refused(*two)
    waits = (Op("vnop", waits=((3, 1),)), Op("mnop", waits=((3, 1),)))
    assert "s3 has a second waiting engine" in refused(Op("lnop", signals=(3,)), *two[:1], *waits)
    assert "semaphore s3 is left at 1, not 0" in refused(Op("lnop", signals=(3,)))


def test_refuses_illegal_operands():
    assert "cols must be a legal size, not 0" in refused(Op("vmov", {**MOVE, "cols": 0}))
    beyond = refused(Op("vmov", {**MOVE, "dst": TINY.sram_bytes - 32}))
    assert "must end inside its memory, not at 0x80020 of 0x80000" in beyond
    assert "sram must be aligned to 32, not 0x8" in refused(Op("load", {**LOAD, "sram": 8}))


@pytest.mark.parametrize(
    ("mnemonic", "change"),
    [
        ("vmov", {"dst": 32}),  # shifted by a row
        ("vmov", {"at": "bf16"}),  # wider rows over narrower ones
        ("vadd", {"b": 32, "bstride": 0}),  # the one row of b is overwritten
    ],
)
def test_refuses_sources_that_are_overwritten(mnemonic, change):
    fields = {"rows": 3, "cols": 8, "astride": 32, "dstride": 32}
    text = refused(Op(mnemonic, {**fields, **change}))
    assert text.startswith(f"instruction 0 ({mnemonic}): result and source overlap at sram 0x")


def test_accepts_results_in_place():
    square = {"rows": 3, "cols": 9, "astride": 64, "dstride": 64, "b": 0, "bstride": 64}
    turn = {"rows": 2, "cols": 8, "astride": 32, "dstride": 32, "rep": 3}
    assert check_image(image(Op("vmul", square), Op("vrot", turn))) == 3


def test_refuses_a_model_that_stores_outside_its_outputs(compiled):
    ops = decode_program(compiled.code)
    stores = [i for i, op in enumerate(ops) if op.mnemonic == "store"]
    ops[stores[-1]] = replace(ops[stores[-1]], fields={**ops[stores[-1]].fields, "hbm": 0})
    broken = replace(compiled, code=encode_program(ops))
    with pytest.raises(CheckError, match="stores to 0x0, which holds no output"):
        check_image(broken)


def test_every_semaphore_of_a_compiled_program_is_needed(compiled):
    """Dropping any one wait (and its signal) leaves a hazard that the checker finds."""
    ops = decode_program(compiled.code)
    order: dict[int, list[int]] = {}
    for i, op in enumerate(ops):
        for semaphore in op.signals:
            order.setdefault(semaphore, []).append(i)
    taken = dict.fromkeys(order, 0)
    missed = tried = 0
    for i, op in enumerate(ops):
        for semaphore, _ in op.waits:
            source = order[semaphore][taken[semaphore]]
            taken[semaphore] += 1
            broken = list(ops)
            broken[i] = replace(op, waits=tuple(w for w in op.waits if w[0] != semaphore))
            kept = tuple(s for s in ops[source].signals if s != semaphore)
            broken[source] = replace(broken[source], signals=kept)
            tried += 1
            try:
                check_image(replace(compiled, code=encode_program(broken)))
                missed += 1
            except CheckError:
                pass
    print(f"{missed} of {tried} dropped semaphores went unnoticed")
    assert tried > 20
    assert missed == 0


def test_footprints_cover_what_execution_writes(compiled):
    """Independent of the checker: run a model, and compare what changed with what was declared."""
    core = FunctionalCore(compiled.config)
    memory = compiled.memory()
    memory[compiled.io.new_address] = 3
    core.load(compiled, memory)
    core.state.sram[:] = rng(4).integers(0, 256, core.sram.size, np.uint8)
    before = core.sram.copy()
    core.run()
    allowed = np.zeros(core.sram.size, bool)
    machine = ScalarMachine(compiled.config, compiled.code)
    for command in machine.run(compiled.memory() * 0 + memory):
        for access in footprint(compiled.config, command):
            if access.write and access.space == "sram":
                for start in access.starts():
                    allowed[start : start + access.length] = True
    assert not np.any((core.sram != before) & ~allowed)


def test_corner_cases_stay_inside_the_context():
    for context, chunk, tile in [(1, 1, 0), (8, 8, 0), (64, 8, 32), (512, 64, 128)]:
        cases = corner_cases(context, chunk, tile)
        assert (1, 0) in cases
        assert all(s >= 1 and p >= 0 and s + p <= context for s, p in cases)
        assert not tile or {(1, tile - 1), (1, tile), (chunk, tile - 1)} <= set(cases)
