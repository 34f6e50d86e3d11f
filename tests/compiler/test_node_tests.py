"""ONNX's own tests of operators: a part of them, and docs/operators.md against that part."""

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.test_case import TestCase

from bench import node_tests
from tests.support import ROOT

DOCUMENT = (ROOT / "docs/operators.md").read_text()
EVERY = 5  # of the operators that transformers use, so many are left out for one that is run


@pytest.fixture(scope="module")
def known() -> dict[str, str]:
    return node_tests.operators()


def outcomes(chosen: list[TestCase], known: dict[str, str]) -> list[node_tests.Outcome]:
    found = [node_tests.run(case, known[case.name]) for case in chosen]
    failed = [
        f"{case.name}: {each.reason}"
        for case, each in zip(chosen, found, strict=True)
        if each.result == node_tests.FAILED
    ]
    assert not failed
    return found


def test_the_document_says_what_passes(known):
    """Rows of some operators, made again. (Another version of onnx has other tests.)"""
    names = [name for name in sorted(node_tests.TRANSFORMERS) if name != "Attention"][::EVERY]
    chosen = [case for case in node_tests.cases() if known[case.name] in names]
    found = outcomes(chosen, known)
    passed = sum(each.result == node_tests.PASSED for each in found)
    assert passed >= 0.9 * len(found) > 100
    if f"Tests of onnx {onnx.__version__}," in DOCUMENT:
        for row in node_tests.table(found, names):
            assert row in DOCUMENT


def test_attention(known):
    found = outcomes(node_tests.cases(["test_attention_*"])[::9], known)
    assert [each.reason for each in found if each.result != node_tests.PASSED] == []
    assert len(found) > 15


def test_wrong_results_are_found(known):
    """A test whose expected output is changed fails."""
    (case,) = node_tests.cases(["test_sigmoid"])
    inputs, (wanted,) = case.data_sets[0]
    changed = wanted.copy()
    changed.flat[7] *= 1.002
    wrong = TestCase(
        case.name, case.model_name, None, None, case.model, [(inputs, [changed])], "node",
        case.rtol, case.atol,
    )  # fmt: skip
    assert node_tests.run(case, "Sigmoid").result == node_tests.PASSED
    assert node_tests.run(wrong, "Sigmoid").result == node_tests.FAILED


def test_refusals_are_told_apart(known):
    (case,) = node_tests.cases(["test_tan"])
    found = node_tests.run(case, known[case.name])
    assert found == node_tests.Outcome(
        "Tan", node_tests.REFUSED, 'model: node "y" (Tan): Tan is not supported'
    )
    assert node_tests.short(found.reason) == "Tan is not supported"


def test_only_the_generated_part_is_replaced(tmp_path):
    path = tmp_path / "operators.md"
    path.write_text(f"before\n{node_tests.START}\nold\n{node_tests.END}\nbehind\n")
    made = node_tests.markdown([node_tests.Outcome("Add", node_tests.PASSED, "", ("x",))])
    node_tests.write(path, made)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("behind\n")
    assert "| Add | 1 of 1 | 1 |  |  |  |" in text
    assert "old" not in text


def test_arrays_of_types_that_numpy_lacks():
    array = np.array([1, 2], np.float32)
    tensor = onnx.numpy_helper.from_array(array)
    np.testing.assert_array_equal(node_tests._array(tensor), array)
