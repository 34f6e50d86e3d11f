"""The documents against the repository: links, commands, the configuration reference."""

import re
import shlex
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

import compiler.cli
import sim.cli
from isa.assembler import assemble
from isa.config import ChipConfig, load_config, preset_names
from sim.check import check_image
from sim.checker import CheckError
from sim.functional import FunctionalCore
from tests.support import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tests/models/*.md")])
COMMANDS = {"jcc": compiler.cli.app, "jalapeno": sim.cli.app}
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"^(?:\$ | {4})((?:jcc|jalapeno) .+)$", re.MULTILINE)
_INLINE = re.compile(r"`((?:jcc|jalapeno) [^`]+)`")
_TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)


def prose(path: Path) -> str:
    """The text without code blocks."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The names that a document's headings get on the web."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def command_lines(text: str) -> list[str]:
    """Commands in code blocks and between backticks; a bare `jalapeno verify` is only a name."""
    lines = _COMMAND.findall(text)
    inline = [found for found in _INLINE.findall(text) if len(found.split()) > 2]
    return [line.partition("#")[0].partition("|")[0].strip() for line in lines + inline]


def parse(line: str) -> None:
    """Parse a command without running it; raises the parser's error."""
    name, *words = shlex.split(line)
    command = get_command(COMMANDS[name])
    if name == "jalapeno":
        group = command.make_context(name, words, resilient_parsing=True)
        subcommand, words = words[0], words[1:]
        command = command.get_command(group, subcommand)
        assert command is not None, f"no command {subcommand!r}"
    command.make_context(name, words)


def shown_commands() -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(ROOT)), line)
        for path in DOCUMENTS
        for line in command_lines(path.read_text())
    ]


def test_documents_are_found():
    names = {path.name for path in DOCUMENTS}
    assert {"README.md", "CHANGELOG.md", "tutorial.md", "isa.md", "configuration.md"} <= names
    assert len(shown_commands()) > 20


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path):
    for link in _LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{path.name}: {link}"


@pytest.mark.parametrize(("document", "line"), shown_commands())
def test_commands_parse(document: str, line: str):
    parse(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("jalapeno verify out.jx --stops 3", "No such option"),
        ("jcc a.onnx --chip tiny", "No such option"),
        ("jcc --config tiny", "Missing"),
        ("jalapeno fly out.jx", "no command 'fly'"),
    ],
)
def test_wrong_commands_do_not_parse(line: str, reason: str):
    with pytest.raises(Exception) as caught:
        parse(line)
    shown = getattr(caught.value, "format_message", lambda: str(caught.value))()
    assert reason in shown


def test_make_targets_exist():
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text()))
    shown = {
        target
        for path in DOCUMENTS
        for target in re.findall(r"(?:`|^    )make ([a-z]+)", path.read_text(), re.MULTILINE)
    }
    assert shown
    assert shown <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(path: Path):
    pattern = r"`((?:isa|rtl|compiler|sim|tb|tests|programs|bench|docs)/[\w./]+)`"
    for name in re.findall(pattern, prose(path)):
        assert (ROOT / name).exists(), f"{path.name}: {name}"


def test_configuration_reference_has_every_field_and_value():
    text = (ROOT / "docs" / "configuration.md").read_text().partition("## What they decide")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    table = {row[0].strip("`"): row[3:] for row in rows if row[0].startswith("`")}
    assert set(table) == {field.name for field in fields(ChipConfig)}
    for column, preset in enumerate(preset_names()):
        for name, value in load_config(preset).to_dict().items():
            assert table[name][column] == str(value), f"{name} of {preset}"


def test_configuration_reference_names_the_properties():
    text = (ROOT / "docs" / "configuration.md").read_text()
    properties = {name for name, value in vars(ChipConfig).items() if isinstance(value, property)}
    named = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (\d+) \|", text, re.MULTILINE))
    assert set(named) == properties
    for name, value in named.items():
        assert getattr(load_config("tiny"), name) == int(value), name


def test_defaults_are_as_documented():
    text = (ROOT / "docs" / "configuration.md").read_text()
    optional = [field.name for field in fields(ChipConfig) if field.default is not MISSING]
    places = [text.index(f"| `{name}`") for name in optional]
    required = [field.name for field in fields(ChipConfig) if field.default is MISSING]
    assert max(text.index(f"| `{name}`") for name in required) < min(places)


def test_the_tutorials_program_does_what_it_says(tmp_path: Path):
    tutorial = (ROOT / "docs" / "tutorial.md").read_text()
    (text,) = re.findall(r"^```\n(\.config tiny\n.*?)^```", tutorial, re.MULTILINE | re.DOTALL)
    image = assemble(text, "first.s")
    check_image(image)
    memory = image.memory()
    core = FunctionalCore(image.config)
    core.load(image, memory)
    core.run()
    assert memory[0x200:0x240].view(np.float32).tolist() == [18] + [0] * 7 + [-18] + [0] * 7
    with pytest.raises(CheckError) as caught:
        check_image(assemble(text.replace("wait(s1)", ""), "first.s"))
    assert f"jalapeno: error: {caught.value}\n" in tutorial


def test_the_tutorials_fault_can_be_put_in():
    tutorial = (ROOT / "docs" / "tutorial.md").read_text()
    (removed,) = re.findall(r"^-( .*)$", tutorial, re.MULTILINE)
    assert (ROOT / "rtl" / "vector_write.py").read_text().count(f"{removed}\n") == 1
