"""A decoder program on a back end: ONNX arrays in, ONNX arrays out, or token after token."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isa.image import ProgramImage
from sim.backends import Backend
from sim.batch import run_batch
from sim.host import Arrays, Host, InputError


class Session:
    """A loaded decoder. ``runs``, ``cycles``, ``counters``, ``hbm_counters`` and ``classes``
    (engine → class → cycles) are sums over all runs so far.

    Bad inputs raise InputError (see sim.host), programs that fail SimulationError.
    """

    def __init__(self, image: ProgramImage, backend: Backend) -> None:
        if image.meta.get("no_weights"):
            raise InputError("the program was compiled with --no-weights: it can only be timed")
        self.image, self.backend = image, backend
        self.hbm = image.memory()
        self.host = Host(image, self.hbm)
        backend.load(image, self.hbm)
        self.runs = 0
        self.cycles = 0
        self.counters: Counter[str] = Counter()
        self.classes: dict[str, Counter[str]] = {}
        self.hbm_counters: Counter[str] = Counter()

    @property
    def max_context(self) -> int:
        """Most tokens that the KV cache holds."""
        return self.image.io.max_context

    @property
    def past(self) -> int:
        """Tokens in the KV cache."""
        return self.host.past

    def reset(self) -> None:
        """Forget the tokens in the cache."""
        self.host.past = 0

    def step(self, ids: Sequence[int] | NDArray) -> NDArray[np.float32]:
        """Append tokens to the context: ids (S,) → logits (S, vocabulary)."""
        self.host.prepare(ids)
        self._execute()
        return self.host.finish(len(ids))

    def choose(
        self, ids: Sequence[int] | NDArray, wanted: int, stops: Sequence[int] = ()
    ) -> list[int]:
        """Append tokens; the program itself chooses up to ``wanted`` (at least 1) that follow, each
        the likeliest. It ends early behind one of ``stops``, which is among the result, and where
        the context is full. All but the last one are in the cache: begin with that."""
        self.host.prepare(ids, wanted, stops)
        self._execute()
        return self.host.chosen(len(ids))

    def run(self, inputs: Arrays) -> Arrays:
        """All inputs of the ONNX file by name → all its outputs; shapes as in sim.host, but for the
        batch, which may be any: its sequences run one after another, each without its padding."""
        return run_batch(self.image.io, inputs, self._run_one)

    def _run_one(self, inputs: Arrays) -> Arrays:
        count = self.host.write(inputs)
        self._execute()
        return self.host.read(count)

    def _execute(self) -> None:
        result = self.backend.run()
        self.runs += 1
        self.cycles += result.cycles
        self.hbm_counters.update(result.hbm)
        for engine, cycles in result.classes.items():
            self.classes.setdefault(engine, Counter()).update(cycles)
        self.counters.update(result.counters)
