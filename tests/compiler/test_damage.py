"""Mutants of exported models; `python -m tests.compiler.damage` tries any number."""

import onnx
import pytest

from compiler.errors import CompileError
from tests.compiler import damage
from tests.compiler.decoder import decoder
from tests.compiler.models import model_path

MODELS = ["llama/optimum_op18", "bert/dynamo_op23", "qwen3/genai_int4"]


@pytest.mark.parametrize("name", MODELS)
def test_damaged_files_are_refused_or_compiled(name: str) -> None:
    data = onnx.load(model_path(f"exporters/{name}")).SerializeToString()
    found = list(damage.results(data, range(60)))
    assert [seed for seed, _, _ in found] == list(range(60))
    assert [entry for entry in found if entry[2] not in ("refused", "compiled")] == []
    assert len({result for _, _, result in found}) == 2


def test_faults_of_the_compiler_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception, too much memory, a hang: each is named, and others go on."""
    data, calls = decoder().SerializeToString(), []

    def work(*_: object) -> None:
        calls.append(1)
        number = len(calls)
        if number == 1:
            raise KeyError("x")
        if number == 2:
            raise CompileError("here", "a").with_traceback(None)
        if number == 3:
            bytearray(damage.BYTES)
        if number == 4:
            while True:
                pass

    monkeypatch.setattr(damage, "compile_file", work)
    monkeypatch.setattr(damage, "SECONDS", 1)
    found = [result for _, _, result in damage.results(data, range(5))]
    assert found[0].startswith("KeyError: ")
    assert found[1] == "refused"
    assert found[2].startswith("MemoryError: ")
    assert found[3].startswith("TimeoutError: 'more than 1 seconds'")
    assert found[4] == "compiled"


def test_a_crash_costs_one_mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> None:
        raise SystemExit(7)

    monkeypatch.setattr(damage, "compile_file", work)
    found = list(damage.results(decoder().SerializeToString(), range(3)))
    assert [seed for seed, _, _ in found] == [0, 1, 2]
    assert {result for _, _, result in found} == {"crash: exit status 7"}
