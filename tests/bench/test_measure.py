"""bench.measure: verdicts, and the cost of commands."""

import sys

import pytest

from bench.measure import Line, Stopwatch, command_cost

SPIN = "import time\nwhile time.process_time() < {}: pass"


@pytest.mark.parametrize(
    ("value", "wanted", "most", "met"),
    [
        (21.0, 20, False, True),
        (19.9, 20, False, False),
        (119.0, 120, True, True),
        (121.0, 120, True, False),
        (None, 120, True, False),
        (1.0, None, False, None),
    ],
)
def test_verdict(value, wanted, most, met):
    line = Line("speed", "model", value, "tokens/s", wanted, most)
    assert line.met is met
    assert line.to_dict()["met"] is met


def test_cost_is_the_childs_cpu_time():
    cost = command_cost([sys.executable, "-c", SPIN.format(0.4)])
    assert cost.finished
    assert 0.3 < cost.cpu < 2
    assert cost.wall >= 0.3


def test_a_command_is_stopped_at_its_limit():
    cost = command_cost([sys.executable, "-c", SPIN.format(30)], cpu_limit=1)
    assert not cost.finished
    assert cost.cpu < 5


def test_a_failing_command_is_an_error():
    with pytest.raises(RuntimeError, match=r"failed with 3:\nreason"):
        command_cost([sys.executable, "-c", "print('reason'); raise SystemExit(3)"])


def test_stopwatch_adds_up():
    watch = Stopwatch()
    assert watch.time(sum, range(3_000_000)) == 3_000_000 * 2_999_999 // 2
    first = watch.seconds
    assert first > 0
    watch.time(sum, range(3_000_000))
    assert watch.seconds > first
