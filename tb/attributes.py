"""What the emitted text with attributes knows besides the text: places in the source, enumerations.

    facts = read_attributes(emit(component, name, attributes=True))

Without its lines of attributes the text is, line by line, the one that is built.
"""

import re
from dataclasses import dataclass, field

_ATTRIBUTE = re.compile(r'\(\* (\w+) = (?:"([^"]*)"|[^*]*) \*\)')
_LINE = re.compile(r"^\s*\(\* .* \*\)$")
_SIGNAL = re.compile(r"^\s*(?:input|output|wire|reg|inout)\s+(?:signed\s+)?(?:\[[^]]*\]\s+)?(\S+)")
_TARGET = re.compile(r"^\s*(?:assign\s+)?(\\\S+|[\w$]+)\s*(?:\[[^]]*\]\s*)?<?=")
_INSTANCE = re.compile(r"^  (\\\S+|\w+) +(?:#\(.*)?(\\\S+|\w+) \($")
_NAMES = "enum_value_"


@dataclass
class Facts:
    """`instances`: module → instance → its module. `enums`: module → signal → value → name.
    `places`: line of the text (from 1, lines of attributes not counted) → file:line in the source.
    """

    instances: dict[str, dict[str, str]] = field(default_factory=dict)
    enums: dict[str, dict[str, dict[int, str]]] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)


class _Reader:
    def __init__(self) -> None:
        self.facts = Facts()
        self.number = 0  # lines that the text without attributes has up to here
        self.module, self.pending = "", {}
        self.declared: dict[str, str] = {}  # signal → place of its declaration
        self.fallback = ""  # place of the module

    def read(self, line: str) -> None:
        attributes = {m[1]: m[2] or "" for m in _ATTRIBUTE.finditer(line)}
        if _LINE.match(line):
            self.pending |= attributes
            return
        self.number += 1
        if line.startswith("module "):
            self._open(re.split(r"[\s(]", line[7:].strip())[0].lstrip("\\"))
        elif declared := _SIGNAL.match(line):
            self._declare(declared[1].lstrip("\\").rstrip(";"))
        elif instance := _INSTANCE.match(line):
            names = (name.lstrip("\\") for name in instance.groups())
            module, name = names
            self.facts.instances[self.module][name] = module
        self._place(line, attributes.get("src", ""))
        self.pending = {}

    def _open(self, name: str) -> None:
        self.module, self.fallback, self.declared = name, self.pending.get("src", ""), {}
        self.facts.instances[name], self.facts.enums[name] = {}, {}

    def _declare(self, name: str) -> None:
        self.declared.setdefault(name, self.pending.get("src", ""))
        values = {
            int(key.removeprefix(_NAMES), 2): label
            for key, label in self.pending.items()
            if key.startswith(_NAMES)
        }
        if values:
            self.facts.enums[self.module][name] = values

    def _place(self, line: str, inline: str) -> None:
        target = _TARGET.match(line)
        declared = self.declared.get(target[1].lstrip("\\"), "") if target else ""
        place = inline or declared or self.fallback
        if place:
            self.facts.places[self.number] = place.split("|")[0]


def read_attributes(text: str) -> Facts:
    """The facts of a text that was emitted with attributes."""
    reader = _Reader()
    for line in text.splitlines():
        reader.read(line)
    return reader.facts
