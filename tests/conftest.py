"""Fixtures of all tests."""

import pytest

from tests.support import SIMULATORS, require_simulator


@pytest.fixture(params=SIMULATORS)
def simulator(request: pytest.FixtureRequest) -> str:
    """Each simulator of the test benches in turn; skipped, with the reason, where it is missing."""
    require_simulator(request.param)
    return request.param
