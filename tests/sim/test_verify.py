"""Comparison of two back ends, one of which is made to fail."""

import re

import numpy as np
import pytest

from isa.assembler import assemble
from sim.backends import FunctionalBackend, Run
from sim.verify import verify
from tests.sim.echo import echo_image

PROGRAM = """
.random 0x0 bf16 64 1
.code 0x400
    load hbm=0, sram=0x100, rows=1, bytes=128  signal(s1)
    matmul acc=5, a=0x100, w=0x120, wstride=16, m=1, k=3, n=8  wait(s1) signal(s2)
    vmov dst=0x200, a=5, rows=1, cols=8, at=acc  wait(s2) signal(s3)
    store hbm=8, sram=0x200, rows=1, bytes=32  wait(s3)
    halt
"""


class Faulty(FunctionalBackend):
    """Flips a bit in a memory's places, or changes a counter, in run number `when`."""

    name = "faulty"

    def __init__(self, when: int, space: str, place: object) -> None:
        self.when, self.space, self.place = when, space, place
        self.runs = 0

    def load(self, image, hbm) -> None:
        super().load(image, hbm)
        self.memories = {"hbm": hbm, "sram": self.sram, "acc": self.acc.view(np.uint32)}

    def run(self) -> Run:
        result = super().run()
        self.runs += 1
        if self.runs == self.when and self.space == "counter":
            return Run(result.counters | {self.place: 99})
        if self.runs == self.when:
            self.memories[self.space][self.place] ^= 4
        return result


def differences(image, faulty: Faulty, steps: int = 2) -> list[str | None]:
    return [run.difference for run in verify(image, (FunctionalBackend(), faulty), steps)]


def test_equal_back_ends():
    runs = list(verify(echo_image(), (FunctionalBackend(), FunctionalBackend()), 3))
    assert [run.name for run in runs] == ["prefill 9", "decode 1", "decode 2", "decode 3"]
    assert [run.difference for run in runs] == [None] * 4
    assert runs[0].first.counters["load_instructions"] == 18
    assert runs[1].first.counters["load_instructions"] == 2
    (run,) = verify(assemble(PROGRAM, "p.s"), (FunctionalBackend(), FunctionalBackend()), 3)
    assert (run.name, run.difference) == ("program", None)


def test_the_context_limits_the_prompt():
    runs = list(verify(echo_image(), (FunctionalBackend(), FunctionalBackend()), 13))
    assert runs[0].name == "prefill 3"
    assert len(runs) == 14
    with pytest.raises(
        ValueError, match=r"^1 tokens and --steps 16 exceed the program's context of 16$"
    ):
        next(verify(echo_image(), (FunctionalBackend(), FunctionalBackend()), 16))


def test_a_prompt_of_its_own():
    pair = FunctionalBackend(), FunctionalBackend()
    runs = list(verify(echo_image(), pair, 1, [3, 4, 5, 6, 7]))
    assert [run.name for run in runs] == ["prefill 5", "decode 1"]
    with pytest.raises(ValueError, match=r"^5 tokens and --steps 12 exceed the program's context"):
        next(verify(echo_image(), pair, 12, [3, 4, 5, 6, 7]))


@pytest.mark.parametrize(
    ("space", "place", "message"),
    [
        ("sram", 0x13F, r"SRAM byte 0x13f: 0x\w+ and 0x\w+, 1 places in all; last written by "
         r"instruction 0 \(load\)"),
        ("sram", 0x204, r"SRAM byte 0x204: .* by instruction 2 \(vmov\)"),
        ("sram", 0x9000, r"SRAM byte 0x9000: 0x0 and 0x4, .*; no instruction of this run wrote it"),
        ("acc", (5, 3), r"accumulator row 5 column 3: 0x\w{8} and 0x\w{8}, .* 1 \(matmul\)"),
        ("hbm", 0x21F, r"HBM byte 0x21f: .* by instruction 3 \(store\)"),
        ("sram", slice(None), r"SRAM byte 0x100: .*, 524288 places in all; .* 0 \(load\)"),
        ("counter", "load_lines", "load_lines: 4 and 99"),
    ],
)  # fmt: skip
def test_differences_are_traced_to_the_instruction(space: str, place: object, message: str):
    (found,) = differences(assemble(PROGRAM, "p.s"), Faulty(1, space, place))
    assert found is not None
    prefix, _, rest = found.partition(" differ")
    assert prefix == "functional and faulty"
    assert re.fullmatch(f"(: | at ){message}", rest), found


def test_the_earliest_instruction_is_named_whatever_the_memory():
    class Twice(Faulty):
        def run(self) -> Run:
            result = super().run()
            self.memories["acc"][5, 3] ^= 1
            return result

    (found,) = differences(assemble(PROGRAM, "p.s"), Twice(1, "sram", 0x200))
    assert found is not None
    assert "accumulator row 5 column 3" in found
    assert found.endswith("2 places in all; last written by instruction 1 (matmul)")


def test_the_first_difference_ends_the_comparison_and_names_the_node():
    image = echo_image()
    found = differences(image, Faulty(2, "hbm", 0x2003), steps=5)
    assert found[0] is None
    assert len(found) == 2
    assert found[1] is not None
    assert found[1].endswith('instruction 7 (store), node "Gather_0" (Gather)')
