"""Rooflines: what is drawn, that nothing is above a roof, and the page that holds it all."""

import re
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from compiler.pipeline import compile_file
from isa.assembler import assemble_file
from isa.config import load_config
from isa.counters import CYCLE_CLASSES
from isa.image import ProgramImage, save_image
from sim.builds import ROOT
from sim.cli import app
from sim.cycle.launches import Launch, launches
from sim.cycle.profile import profile
from sim.cycle.roofline import WHOLE, dots, roofs
from sim.shared_loads import parts_of
from tests.compiler.models import model_path

TINY = load_config("tiny")


@pytest.fixture(scope="module")
def stories() -> ProgramImage:
    return compile_file(model_path("stories260k/optimum_op18"), TINY, 64)


@pytest.fixture(scope="module")
def shown(stories) -> list[Launch]:
    return list(launches(stories, 1, 20, profile(stories, 1, 20, "cycle")))


@pytest.fixture(scope="module")
def page(stories, tmp_path_factory):
    """The page's text, and the picture."""
    folder = tmp_path_factory.mktemp("report")
    save_image(stories, folder / "s.jx")
    files = folder / "r.html", folder / "r.svg"
    run(folder / "s.jx", "--tokens", 9, "--report", files[0], "--plot", files[1])
    return tuple(file.read_text() for file in files)


def run(*options) -> None:
    result = CliRunner().invoke(app, ["profile", *map(str, options)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output


def test_roofs_are_those_of_the_chip():
    assert roofs(TINY) == {"HBM pins": 32, "memory port": 32}
    assert roofs(TINY.replace(hbm_channels=8)) == {"HBM pins": 128, "memory port": 32}
    slow = TINY.replace(hbm="", memory_bytes_per_cycle=5)
    assert roofs(slow) == {"memory": 5, "memory port": 32}


def test_a_decoder_shows_both_halves(stories, shown):
    assert [launch.name for launch in shown] == ["prefill of 20", "decode behind 20"]
    alone = profile(stories, 20, 0, "cycle")
    assert [launch.found.cycles for launch in shown] == [
        alone.cycles,
        profile(stories, 1, 20, "cycle").cycles,
    ]
    names = [launch.name for launch in launches(stories, 20, 0, alone)]
    assert names == ["prefill of 20", "decode behind 20"]
    later = profile(stories, 5, 20, "cycle")
    names = [launch.name for launch in launches(stories, 5, 20, later)]
    assert names == ["prefill of 5 behind 20", "decode behind 25"]
    full = profile(stories, 64, 0, "cycle")  # no step fits behind it
    assert [launch.name for launch in launches(stories, 64, 0, full)] == ["prefill of 64"]
    matmul = assemble_file(ROOT / "programs" / "matmul.s")
    found = profile(matmul, 1, 0, "cycle")
    assert [launch.name for launch in launches(matmul, 1, 0, found)] == ["the program"]


@pytest.mark.parametrize("half", [0, 1])
def test_nothing_is_above_a_roof(shown, half):
    """Within one port's word of each transfer, which a node's last line may share."""
    found = dots(shown[half])
    assert {dot.kind for dot in found} == {"node", "layer", "whole"}
    assert sum(dot.kind == "layer" for dot in found) == 5
    for dot in found:
        assert 0 < dot.rate <= TINY.rows * TINY.cols, dot
        assert dot.rate <= dot.intensity * TINY.axi_bytes, dot


@pytest.mark.parametrize("half", [0, 1])
def test_the_whole_is_the_run(shown, half):
    """Products by hand: at least those of the weights, once for each token, of 260,000 in all."""
    whole = dots(shown[half])[-1]
    hidden, kv, ffn, vocabulary, layers = 64, 32, 172, 512, 5
    each = layers * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * ffn)
    tokens = (20, 1)[half]
    assert (whole.name, whole.cycles) == (WHOLE, shown[half].found.cycles)
    assert whole.macs >= tokens * (each + hidden * vocabulary * (half == 1))
    assert whole.bytes >= 2 * each
    nodes = [dot for dot in dots(shown[half]) if dot.kind == "node"]
    assert sum(dot.macs for dot in nodes) == whole.macs


def test_a_page_needs_no_other_file(page):
    text, drawn = page
    parser = _Tags()
    parser.feed(text)
    assert not parser.links
    assert parser.count["svg"] == 1
    assert parser.count["h2"] == 2
    for title in ("prefill of 9", "decode behind 9"):
        assert f"<h2>{title}</h2>" in text
        assert f"<!-- {title}, " in text
        assert f"<!-- {title}, " in drawn


def test_a_pages_classes_add_up_to_100(page):
    plain = re.sub(r"<[^>]*>", "", page[0])
    number = len(CYCLE_CLASSES)
    found = re.findall(
        rf"(?:load|store|matrix|vector|sequencer) +│((?: +\d+\.\d │?){{{number}}})", plain
    )
    assert len(found) == 2 * 5
    for row in found:
        assert sum(map(float, row.replace("│", " ").split())) == pytest.approx(
            100, abs=0.05 * number
        )


def test_a_page_names_every_node(page, stories):
    plain = re.sub(r"\s+", "", re.sub(r"<[^>]*>", "", page[0]).replace("&quot;", '"'))
    nodes = [node for _, node in stories.nodes if not parts_of(stories, node)]
    assert len(nodes) < len(stories.nodes)
    for node in nodes:
        assert re.sub(r"\s+", "", node) in plain


@pytest.mark.parametrize(
    ("flag", "name", "message"),
    [
        ("--plot", "r.txt", r"r.txt: a picture ends in .svg, .png, .pdf"),
        ("--report", "r.txt", r"r.txt: a report ends in .html"),
    ],
)
def test_other_files_are_refused(tmp_path, flag, name, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "none.jx", flag, tmp_path / name)


@pytest.mark.parametrize("flag", ["--plot", "--report"])
def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch, flag):
    monkeypatch.setattr("sim.cycle.roofline.find_spec", lambda name: None)
    name = {"--plot": "r.svg", "--report": "r.html"}[flag]
    with pytest.raises(
        ValueError, match=rf"{flag} needs matplotlib: pip install 'jalapeno\[plots\]'"
    ):
        run(tmp_path / "none.jx", flag, tmp_path / name)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and not value.startswith("#"):
                self.links.append(value)
