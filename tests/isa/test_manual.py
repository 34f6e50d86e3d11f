"""The generated manual."""

import pytest

from isa.counters import COUNTERS
from isa.manual import main, manual
from isa.table import FORMATS, INSTRUCTIONS
from tests.support import ROOT


def test_the_committed_manual_is_up_to_date():
    assert (ROOT / "docs" / "isa.md").read_text() == manual(), "run python -m isa.manual"


def test_it_names_everything():
    text = manual()
    for entry in INSTRUCTIONS:
        assert f"| 0x{entry.opcode:02x} | `{entry.mnemonic}` |" in text
    for fields in FORMATS:
        assert all(f"`{field.name}`" in text for field in fields.fields)
    assert all(f"`{name}`" in text for name in COUNTERS)


def test_check_tells_an_old_manual(tmp_path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "docs" / "isa.md"
    assert main(["-o", str(path), "--check"]) == 1
    assert capsys.readouterr().err == f"{path} is not up to date: run python -m isa.manual\n"
    assert main(["-o", str(path)]) == 0
    assert main(["-o", str(path), "--check"]) == 0
    path.write_text(path.read_text() + "x")
    assert main(["-o", str(path), "--check"]) == 1
