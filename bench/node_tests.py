"""ONNX's own tests of its operators, on jcc and the functional simulator (`compiler.onnx_backend`).

    python bench/node_tests.py [--docs docs/operators.md] [--list refused] [PATTERN ...]

The tests are made by the onnx package that is installed; a pattern chooses those whose name it
matches, as in file names. A test passes where all outputs are within the tolerance that it names,
is refused where jcc, or the program, says that it cannot, and has failed else.
"""

import argparse
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.runner import Runner
from onnx.numpy_helper import to_array
from rich.console import Console
from rich.table import Table

from compiler.onnx_backend import Refused, prepare

START, END = "<!-- node tests: generated -->", "<!-- end of node tests -->"
PASSED, REFUSED, FAILED = RESULTS = ("passed", "refused", "failed")
# Of transformers; the others are listed behind them.
TRANSFORMERS = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Attention",
    "Cast",
    "CastLike",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "CumSum",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "MatMulInteger",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "OneHot",
    "Or",
    "Pad",
    "Pow",
    "QLinearMatMul",
    "QuantizeLinear",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "RMSNormalization",
    "RotaryEmbedding",
    "Round",
    "Shape",
    "Sigmoid",
    "Sign",
    "Size",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "SwiGLU",
    "Swish",
    "Tanh",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
    "Xor",
]


@dataclass(frozen=True)
class Outcome:
    """``fixed``: inputs whose values the program was made for."""

    operator: str
    result: str
    reason: str = ""
    fixed: tuple[str, ...] = ()


def cases(patterns: Sequence[str] = ()) -> list[TestCase]:
    """onnx's tests of operators, in its order."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():  # of NumPy, about overflows that the tests want
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return [c for c in found if not patterns or any(fnmatch(c.name, p) for p in patterns)]


def operators() -> dict[str, str]:
    """Operator of each test; of one that is written as its definition, that of the test beside."""
    found: dict[str, str] = {}
    for case in cases():
        base = re.sub(r"_expanded(_ver\d+)?$", "", case.name)
        nodes = [node.op_type for node in case.model.graph.node]
        kinds = [name for name in nodes if name != "Constant"] or nodes
        found[case.name] = found.get(base, kinds[0])
    return found


def run(case: TestCase, operator: str) -> Outcome:
    """One test."""
    try:
        program = prepare(case.model)
        for inputs, wanted in case.data_sets:
            found = program.run([_array(each) for each in inputs])
            arrays = [_array(each) for each in wanted]
            Runner.assert_similar_outputs(arrays, list(found), case.rtol, case.atol)
    except Refused as error:
        return Outcome(operator, REFUSED, str(error))
    except Exception as error:  # whatever it is, it is no refusal
        text = " ".join(str(error).split())
        return Outcome(operator, FAILED, f"{type(error).__name__}: {text}")
    return Outcome(operator, PASSED, "", tuple(sorted(program.fixed)))


def _array(value: Any) -> Any:
    """Tests of types that NumPy lacks have tensors as ONNX stores them."""
    return to_array(value) if isinstance(value, onnx.TensorProto) else value


def short(reason: str) -> str:
    """A refusal without the names of one test."""
    text = re.sub(r'^(.*?: )?(node|input|output) "[^"]*"( \([^)]*\))?: ', "", reason)
    text = re.sub(r"(input|output) '[^']*'", r"an \1", text)
    return re.sub(r"-?\d+\.\d+(e[+-]?\d+)?", "a number", text)


def table(outcomes: Sequence[Outcome], names: Sequence[str]) -> Iterator[str]:
    """Rows of Markdown, one for each operator."""
    yield "| operator | passed | with inputs fixed | refused | failed | why refused |"
    yield "|---|---|---|---|---|---|"
    for name in names:
        mine = [each for each in outcomes if each.operator == name]
        counts = Counter(each.result for each in mine)
        fixed = sum(bool(each.fixed) for each in mine)
        why = Counter(short(each.reason) for each in mine if each.result == REFUSED)
        reasons = "; ".join(reason.replace("|", "\\|") for reason, _ in why.most_common(3))
        more = f"; {len(why) - 3} more reasons" if len(why) > 3 else ""
        shown = [str(count) if count else "" for count in (fixed, counts[REFUSED], counts[FAILED])]
        passed = f"{counts[PASSED]} of {len(mine)}"
        yield f"| {name} | {passed} | {' | '.join(shown)} | {reasons}{more} |"


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The generated part of docs/operators.md."""
    known = sorted({each.operator for each in outcomes})
    first = [name for name in known if name in TRANSFORMERS]
    rest = [name for name in known if name not in TRANSFORMERS]
    some = [name for name in rest if any(_passes(o, name) for o in outcomes)]
    refused = [name for name in rest if name not in some]
    lines = [
        START,
        "",
        f"Tests of onnx {onnx.__version__}, listed by `python bench/node_tests.py --docs",
        "docs/operators.md`.",
        "",
        f"Operators that transformers use: {_summary(outcomes, first)}.",
        "",
        *table(outcomes, first),
        "",
        f"Others, of which some test passes: {_summary(outcomes, some)}.",
        "",
        *table(outcomes, some),
        "",
        f"All tests are refused of {', '.join(refused)}: {_summary(outcomes, refused)}.",
        "",
        END,
    ]
    return "\n".join(lines)


def _passes(outcome: Outcome, name: str) -> bool:
    return outcome.operator == name and outcome.result != REFUSED


def _summary(outcomes: Sequence[Outcome], names: Sequence[str]) -> str:
    counts = Counter(each.result for each in outcomes if each.operator in names)
    total = sum(counts.values())
    share = counts[PASSED] / total if total else 0
    return (
        f"{counts[PASSED]} of {total} tests pass ({share:.1%}), {counts[REFUSED]} are refused, "
        f"{counts[FAILED]} fail"
    )


def write(path: Path, text: str) -> None:
    """Replace the generated part of a document."""
    before, _, rest = path.read_text().partition(START)
    path.write_text(before + text + rest.partition(END)[2])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python bench/node_tests.py")
    parser.add_argument("patterns", nargs="*", help="names of tests, by default all")
    parser.add_argument("--docs", type=Path, help="Markdown file whose generated part is replaced")
    parser.add_argument("--list", action="append", default=[], choices=RESULTS, help="show these")
    options = parser.parse_args()
    if options.docs and options.patterns:
        parser.error("--docs needs all tests")
    console, known = Console(), operators()
    outcomes = []
    with console.status("node tests") as status:
        for case in cases(options.patterns):
            status.update(case.name)
            outcome = run(case, known[case.name])
            outcomes.append(outcome)
            if outcome.result in (*options.list, FAILED):
                line = f"{case.name}: {outcome.result}: {outcome.reason[:200]}"
                console.print(line, highlight=False, markup=False)
    shown = Table("operator", *RESULTS)
    for name in sorted({each.operator for each in outcomes}):
        counts = Counter(each.result for each in outcomes if each.operator == name)
        shown.add_row(name, *(str(counts[result]) for result in RESULTS))
    totals = Counter(each.result for each in outcomes)
    shown.add_row("all", *(str(totals[result]) for result in RESULTS), style="bold")
    console.print(shown)
    if options.docs:
        write(options.docs, markdown(outcomes))
    sys.exit(bool(totals[FAILED]))


if __name__ == "__main__":
    main()
