"""Lines of the emitted design that the benches executed, from Verilator's counts.

    pytest tb/ --sim verilator --line-coverage build/coverage/lines
    python -m tb.line_coverage build/coverage/lines

Verilator counts, in each file, points: a block or an arm of `if` and `case` with the lines that it
holds, and the arms of conditional expressions. A line is covered when every block and arm that
holds it was executed. The same module appears in several files (in a unit's, in the core's) under
other names: modules whose texts are equal but for names are one.
"""

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tb.attributes import read_attributes
from tb.build import ATTRIBUTED

_DECLARATIONS = ("  input ", "  output ", "  wire ", "  reg ")  # in the order of their names
CONDITIONS = ("cond_then", "cond_else")
_WORD = re.compile(r"\\\S+|[A-Za-z_$][\w$]*")
_KEYWORDS = frozenset(
    ("module", "endmodule", "input", "output", "reg", "wire", "signed", "assign", "always_comb",
     "always_ff", "always", "posedge", "if", "else", "casez", "case", "endcase", "default", "begin",
     "end", "initial")
)  # fmt: skip


@dataclass
class Module:
    """One emitted module: `points` (line, kind, column) → executions, lines counted from its own
    first one; `place` a file and line where it stands; `sources` line → file:line in Python.
    """

    name: str
    place: tuple[Path, int]
    text: list[str]
    sources: dict[int, str]
    spans: dict[tuple, tuple[int, ...]] = field(default_factory=dict)  # point → lines it holds
    points: Counter[tuple] = field(default_factory=Counter)

    def lines(self) -> dict[int, bool]:
        """Line → whether every block or arm that holds it was executed."""
        covered: dict[int, bool] = {}
        for point, lines in self.spans.items():
            if point[1] not in CONDITIONS:
                for line in lines:
                    covered[line] = covered.get(line, True) and self.points[point] > 0
        return covered

    def conditions(self) -> tuple[int, int]:
        """Arms of conditional expressions: executed, all."""
        arms = [point for point in self.spans if point[1] in CONDITIONS]
        return sum(self.points[point] > 0 for point in arms), len(arms)


def modules_of(path: Path) -> dict[str, Module]:
    """The modules of an emitted file, by name."""
    found: dict[str, Module] = {}
    current: Module | None = None
    attributed = path.with_name(ATTRIBUTED)
    places = read_attributes(attributed.read_text()).places if attributed.exists() else {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("module "):
            name = _WORD.findall(line)[1].lstrip("\\")
            current = found[name] = Module(name, (path, number), [], {})
        if current is not None:
            current.sources[len(current.text)] = places.get(number, "")
            current.text.append(line)
        if line.startswith("endmodule"):
            current = None
    return found


def key_of(module: Module) -> str:
    """Equal for modules that differ in names only."""
    names: dict[str, str] = {}

    def rename(match: re.Match[str]) -> str:
        word = match.group()
        return word if word in _KEYWORDS else names.setdefault(word, f"n{len(names)}")

    header = next(i for i, line in enumerate(module.text, 1) if line.endswith(");"))
    inside = module.text[header:]
    words = (word for line in inside if line.startswith(_DECLARATIONS) for word in line.split())
    widths = sorted(word for word in words if word.startswith("["))
    body = (_WORD.sub(rename, line) for line in inside if not line.startswith(_DECLARATIONS))
    return "\n".join([*widths, *body])


def read_counts(paths: Iterable[Path]) -> dict[Path, Counter[tuple]]:
    """Emitted file → (line, kind, column, lines held) → executions."""
    files: dict[Path, Counter[tuple]] = defaultdict(Counter)
    for path in paths:
        for entry in path.read_text(errors="replace").splitlines():
            if entry.startswith("C '"):
                record, count = entry[3:].rsplit("' ", 1)
                fields = dict(part.split("\2", 1) for part in record.split("\1")[1:])
                held = tuple(_ranges(fields.get("S", fields["l"])))
                point = int(fields["l"]), fields["o"], int(fields["n"]), held
                files[Path(fields["f"])][point] += int(count)
    return files


def _ranges(text: str) -> Iterable[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def collect(folder: Path) -> dict[str, list[Module]]:
    """Top module → its modules, with the executions of every equal module anywhere."""
    tops: dict[str, list[Module]] = {}
    equal: dict[str, list[Module]] = defaultdict(list)
    for path, counts in read_counts(sorted(folder.glob("*.dat"))).items():
        modules = list(modules_of(path).values())
        for module in modules:
            start = module.place[1]
            end = start + len(module.text)
            for (line, kind, column, held), count in counts.items():
                initial = start <= line < end and "initial" in module.text[line - start]
                if start <= line < end and not initial:  # contents of a ROM are no behaviour
                    point = (line - start, kind, column)
                    module.points[point] += count
                    module.spans[point] = tuple(one - start for one in held)
            if module.spans:
                equal[key_of(module)].append(module)
        if any(module.spans for module in modules):  # Verilator's own package has none
            tops.setdefault(path.stem, []).extend(m for m in modules if m.spans)
    for same in equal.values():
        total: Counter[tuple] = Counter()
        for module in same:
            total.update(module.points)
        for module in same:
            module.points = total
    return tops


def report(top: str, modules: list[Module]) -> tuple[list[str], float]:
    """A row for each module, the total, then the lines that were not executed; and the share."""
    head = f"{'module of ' + top:<52}{'lines':>7}{'hit':>7}{'%':>8}{'arms of ?:':>12}{'hit':>7}"
    rows, missing, total = [head], [], Counter[str]()
    for module in sorted(modules, key=lambda m: m.name):
        lines, (arms_hit, arms) = module.lines(), module.conditions()
        hit = sum(lines.values())
        share = f"{100 * hit / max(len(lines), 1):.1f}"
        rows.append(f"{module.name:<52}{len(lines):>7}{hit:>7}{share:>8}{arms:>12}{arms_hit:>7}")
        total.update({"lines": len(lines), "hit": hit, "arms": arms, "arms_hit": arms_hit})
        path, start = module.place
        for line, covered in sorted(lines.items()):
            if not covered:
                text = f"{module.sources[line]}: {module.text[line].strip()}"
                missing.append(f"not executed: {path}:{start + line}: {module.name}: {text}")
    share = 100 * total["hit"] / max(total["lines"], 1)
    rows.append(
        f"{'total':<52}{total['lines']:>7}{total['hit']:>7}{share:>8.1f}"
        f"{total['arms']:>12}{total['arms_hit']:>7}"
    )
    return rows + missing, share


def main() -> int:
    """Print the report of each top; status 1 when `--top` executes less than `--least` percent."""
    parser = argparse.ArgumentParser(description="lines of the emitted design that were executed")
    parser.add_argument("folder", type=Path, help="what `pytest --line-coverage FOLDER` collected")
    parser.add_argument("--top", default="Core", help="the design that counts (default Core)")
    parser.add_argument("--least", type=float, default=95.0, help="percent (default 95)")
    chosen = parser.parse_args()
    tops = collect(chosen.folder)
    if chosen.top not in tops:
        print(f"no counts of {chosen.top} in {chosen.folder}, only of: {', '.join(tops)}")
        return 1
    for top in sorted(tops, key=lambda name: name == chosen.top):
        rows, share = report(top, tops[top])
        print("\n".join(rows), end="\n\n")
    return int(share < chosen.least)


if __name__ == "__main__":
    sys.exit(main())
