"""Options of the benches, the fixtures that obey them, and the report of coverage.

pytest tb/ --sim verilator|icarus --waves --seed N --coverage-required
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sim.builds import build_root
from tb.build import LINES, SIMULATORS, why_unavailable
from tb.coverage import FOLDER, read_folder, report, to_json
from tb.runner import run_bench

_UNITS = pytest.StashKey[list]()
_OWNED = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benches", "hardware benches")
    group.addoption("--sim", choices=(*SIMULATORS, "both"), default="both", help="simulator(s)")
    group.addoption("--seed", type=int, default=1, help="of all random stimulus (default 1)")
    group.addoption("--waves", action="store_true", help="leave a dump of each run, and say where")
    group.addoption(
        "--coverage-required", action="store_true", help="fail when a coverage bin is not hit"
    )
    group.addoption("--line-coverage", metavar="FOLDER", help="collect executed lines there")


def pytest_configure(config: pytest.Config) -> None:
    """Where the run collects what it covers; workers and simulators inherit the environment."""
    config.addinivalue_line("markers", "only(simulator): the bench is not for the others")
    if hasattr(config, "workerinput"):
        return
    config.stash[_OWNED] = tempfile.TemporaryDirectory(prefix="coverage-")
    os.environ[FOLDER] = config.stash[_OWNED].name
    if folder := config.getoption("--line-coverage"):
        os.environ[LINES] = str(Path(folder).resolve())


def pytest_report_header(config: pytest.Config) -> str:
    return f"benches: --sim {config.getoption('--sim')} --seed {config.getoption('--seed')}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`simulator` is each simulator asked for, in turn."""
    if "simulator" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--sim")
        chosen = SIMULATORS if asked == "both" else (asked,)
        metafunc.parametrize("simulator", chosen, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is for one simulator only is not asked of the others."""
    unwanted = [item for item in items if _is_for_another(item)]
    if unwanted:
        config.hook.pytest_deselected(items=unwanted)
        items[:] = [item for item in items if item not in unwanted]


def _is_for_another(item: pytest.Item) -> bool:
    only, call = item.get_closest_marker("only"), getattr(item, "callspec", None)
    return only is not None and call is not None and call.params.get("simulator") not in only.args


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> str:
    """Name of the simulator; skips, with the reason, where it is missing."""
    reason = why_unavailable(request.param)
    if reason is not None:
        pytest.skip(reason)
    return request.param


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What `--seed` says."""
    return request.config.getoption("--seed")


@pytest.fixture
def bench(request: pytest.FixtureRequest, simulator: str, seed: int) -> Callable[..., int]:
    """`run_bench` with the simulator, the seed and the waves that the command line asks for."""

    def run(component, top_name: str, module: str, parameters: dict, **settings) -> int:
        return run_bench(
            component,
            top_name,
            module,
            simulator,
            seed=seed,
            waves=request.config.getoption("--waves"),
            parameters=parameters,
            **settings,
        )

    return run


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Merge the coverage of all processes; judge it where that is asked for."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    units = config.stash[_UNITS] = read_folder(Path(os.environ[FOLDER]))
    if not units:
        return
    path = build_root() / "coverage" / "points.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(to_json(units), indent=1))
    holes = any(p.missing() for unit in units for p in unit.points.values())
    if holes and config.getoption("--coverage-required"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter) -> None:
    """The table of coverage, and the places of the dumps."""
    config = terminalreporter.config
    units = config.stash.get(_UNITS, [])
    if units:
        terminalreporter.section("coverage")
        for line in report(units):
            terminalreporter.line(line)
        if config.getoption("--coverage-required"):
            terminalreporter.line("every bin that is not waived is required")
    for line in _dumps(terminalreporter):
        terminalreporter.line(line)


def _dumps(terminalreporter) -> Iterator[str]:
    """What runs said about their dumps, also those of other processes."""
    for kind in ("passed", "failed"):
        for outcome in terminalreporter.stats.get(kind, []):
            lines = getattr(outcome, "capstdout", "").splitlines()
            yield from (f"{outcome.nodeid}: {x}" for x in lines if x.startswith("waves: "))


def pytest_unconfigure(config: pytest.Config) -> None:
    if _OWNED in config.stash:
        config.stash[_OWNED].cleanup()
