"""Dumps that one can read: values of enumerations by name, in GTKWave and Surfer alike.

Both simulators write the fields of structures under their own names (`command.rows`), but numbers
for enumerations. `name_values` adds to a dump, beside each signal whose values have names, a
signal `…_name` of the type `string`, which both viewers show as text: of the enumerations of the
design, of opcodes, and of the choices of instructions.
"""

from collections.abc import Iterator
from pathlib import Path

from isa.table import BY_OPCODE, INSTRUCTIONS, OPCODE_BITS, Choice
from tb.attributes import Facts

Names = dict[int, str]
_TOPS = ("TOP", "$rootio")
_CHOICES: dict[tuple[str, int], Names] = {
    (f.name, f.width): dict(enumerate(f.values))
    for instruction in INSTRUCTIONS
    for f in instruction.format.fields
    if isinstance(f, Choice)
}
_CHOICES["opcode", OPCODE_BITS] = {code: i.mnemonic for code, i in BY_OPCODE.items()}


def name_values(dump: Path, top: str, facts: Facts) -> int:
    """Rewrite the VCD file `dump` of module `top` with the added signals; returns their number."""
    renamer = _Renamer(top, facts)
    partial = dump.with_suffix(".part")
    with dump.open(errors="replace") as source, partial.open("w") as target:
        for line in source:
            target.writelines(renamer.lines(line))
    partial.replace(dump)
    return len(renamer.added)


class _Renamer:
    def __init__(self, top: str, facts: Facts) -> None:
        self.top, self.facts = top, facts
        self.scopes: list[str] = []  # module of each open scope, "" where unknown
        self.added: dict[str, list[tuple[str, Names]]] = {}  # id → (new id, names)
        self.count = 0

    def lines(self, line: str) -> Iterator[str]:
        """The line and what is to be added to it."""
        yield line
        words = line.split()
        if not words:
            return
        if words[0] == "$scope":
            self.scopes.append(self._module(words[2]))
        elif words[0] == "$upscope":
            self.scopes.pop()
        elif words[0] == "$var" and words[1] != "string":
            yield from self._declare(int(words[2]), words[3], words[4].lstrip("\\"))
        elif line[0] == "b" and len(words) == 2:
            yield from self._change(words[0][1:], words[1])
        elif line[0] in "01xz":
            yield from self._change(line[0], line[1:].strip())

    def _module(self, scope: str) -> str:
        if scope == self.top and (not self.scopes or not self.scopes[-1]):
            return self.top
        parent = self.facts.instances.get(self.scopes[-1], {}) if self.scopes else {}
        return parent.get(scope.lstrip("\\"), "")

    def _declare(self, width: int, code: str, name: str) -> Iterator[str]:
        enums = self.facts.enums.get(self.scopes[-1] if self.scopes else "", {})
        field = name.rpartition(".")
        names = enums.get(name) or (_CHOICES.get((field[2], width)) if field[1] else None)
        if names:
            self.count += 1
            new = f"names{self.count}"  # longer than what simulators use
            self.added.setdefault(code, []).append((new, names))
            yield f"$var string 1 {new} {name}_name $end\n"

    def _change(self, bits: str, code: str) -> Iterator[str]:
        for new, names in self.added.get(code, ()):
            known = not set(bits) - {"0", "1"}
            number = int(bits, 2) if known else 0
            yield f"s{names.get(number, number) if known else 'X'} {new}\n"
