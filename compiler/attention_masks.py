"""What the masks of attention say: which keys each token sees, and what is added to their scores.

Masks are known values. They are evaluated at several sizes and compared, entry by entry, with what
the chip does without effort: a band of keys around each token (causal, a window, or everything),
and a bias by head and key, as ALiBi's: what a row of scores has in common is nothing to a softmax.
All other functions of query and key become a table with a row for each position.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from compiler.canonical_context import Context, refuse
from compiler.evaluate_sample import Sample, Values

FORBIDDEN = -1e30  # an additive mask below this leaves no weight in float32
TOLERANCE = 1e-5  # of a bias, relative to its largest: rows are shifted by rounded numbers


@dataclass(frozen=True)
class Mask:
    """A known value that is added to scores, ``factor`` times, or keeps or drops them."""

    name: str
    form: str  # "additive", "keep" or "drop"
    factor: float = 1.0

    def added(self, array: np.ndarray) -> np.ndarray:
        """To the scores, -inf where they are dropped."""
        if self.form == "additive":
            shifted = np.float32(self.factor) * array.astype(np.float32)
            return np.where(array <= FORBIDDEN, np.float32(-np.inf), shifted)
        kept = array.astype(bool) if self.form == "keep" else ~array.astype(bool)
        return np.where(kept, np.float32(0), np.float32(-np.inf))


@dataclass(frozen=True)
class Visibility:
    """Token i sees those from i - ``behind`` to i + ``ahead``, -1: all.

    Added to the scores is ``bias`` (heads, context) by head and key, or ``table`` (heads or 1,
    context, context) by query and key as well, or nothing.
    """

    behind: int = -1
    ahead: int = -1
    bias: np.ndarray | None = None
    table: np.ndarray | None = None

    def allowed(self, total: int, queries: np.ndarray) -> np.ndarray:
        """(queries, total): where keys are seen, by tokens at these positions."""
        keys, queries = np.arange(total), queries[:, None]
        allowed = np.ones((len(queries), total), bool)
        if self.behind >= 0:
            allowed &= keys >= queries - self.behind
        if self.ahead >= 0:
            allowed &= keys <= queries + self.ahead
        return allowed


EVERYTHING, CAUSAL = Visibility(), Visibility(ahead=0)
SOME = 3  # queries at the beginning, in the middle and at the end of what is too large


@dataclass(frozen=True, eq=False)
class Case:
    """What is ``added`` to the scores of ``queries``, by position: (heads or 1, queries, total)."""

    total: int
    queries: np.ndarray
    added: np.ndarray

    def agrees(self, seen: Visibility) -> bool:
        """Whether the same keys are seen."""
        return bool(((self.added > -np.inf) == seen.allowed(self.total, self.queries)).all())


def visibility(
    context: Context, node: onnx.NodeProto, masks: Sequence[Mask], heads: int
) -> Visibility:
    """What ``masks`` together say, for the Softmax ``node``."""
    most, caches = context.max_context, bool(context.evaluator.interface.caches)

    def evaluated(sample: Sample, rows: np.ndarray | None = None) -> Case:
        run = context.evaluator.run(sample, [mask.name for mask in masks], rows)
        return case_of(sample, run, rows)

    def case_of(sample: Sample, run: Values, rows: np.ndarray | None = None) -> Case:
        rows = rows if rows is not None and run.rows else np.arange(sample.new)
        added = _added(context, node, masks, (len(rows), sample.total), run, heads)
        return Case(sample.total, sample.past + rows, added)

    # The last tokens of a full context show windows that short samples do not.
    some = np.unique([n + k for n in (0, most // 2, most) for k in range(-SOME, SOME)])
    some = some[(some >= 0) & (some < most)]
    last = evaluated(Sample(min(3, most), max(0, most - 3)) if caches else Sample(most, 0), some)
    pairs = zip(context.samples, context.runs, strict=True)
    within = [(sample, run) for sample, run in pairs if sample.total <= most]
    cases = [last, *(case_of(sample, run) for sample, run in within)]
    if len(within) < len(context.runs):  # a short context, of which these do not show all
        cases.append(evaluated(Sample(most, 0)))
    for case in cases:
        if caches and (case.added[:, ~CAUSAL.allowed(case.total, case.queries)] > -np.inf).any():
            tokens = f"{len(case.queries)} tokens after {case.queries[0]}"
            refuse(node, f"its mask is not causal for {tokens}")
        if not (case.added > -np.inf).any(axis=2).all():
            refuse(node, "its mask forbids a token every key")
    band = _band(last, caches)
    if all(case.agrees(band) for case in cases):
        if all((case.added[case.added > -np.inf] == 0).all() for case in cases):
            return band
        bias = _bias(last)
        if all(_agrees(case.added, bias[:, None, : case.total]) for case in cases):
            return replace(band, bias=bias)
    whole = len(last.queries) == most
    table = (last if whole else evaluated(Sample(most, 0))).added
    for case in cases:
        if not _agrees(case.added, table[:, case.queries, : case.total]):
            refuse(node, "what is added to its scores must depend on heads, positions and keys")
    later = (table[:, ~CAUSAL.allowed(most, np.arange(most))] > -np.inf).any()
    return Visibility(ahead=-1 if later else 0, table=table)


def _added(
    context: Context,
    node: onnx.NodeProto,
    masks: Sequence[Mask],
    size: tuple[int, int],
    values: Values,
    heads: int,
) -> np.ndarray:
    """The sum of all masks: (heads or 1, *size)."""
    total = np.zeros((1, *size), np.float32)
    for mask in masks:
        array = mask.added(context.evaluator.known(mask.name, values))
        count = int(np.prod(array.shape[:-2], dtype=np.int64))
        array = array.reshape(count, *((1, 1) + array.shape)[-2:])
        fits = all(a in (1, b) for a, b in zip(array.shape, (heads, *total.shape[1:]), strict=True))
        if not fits:
            refuse(node, f'mask "{mask.name}" of shape {array.shape} does not fit {(heads, *size)}')
        total = total + array
    return total


def _band(case: Case, caches: bool) -> Visibility:
    """The narrowest band around all that is allowed; limits that the sample does not show are
    none."""
    _, query, key = np.nonzero(case.added > -np.inf)
    offset = key - case.queries[query]
    behind, ahead = -int(offset.min(initial=0)), int(offset.max(initial=0))
    last = case.total - 1
    everything = 0 < ahead == last and not caches
    return Visibility(-1 if behind == last else behind, -1 if everything else ahead)


def _bias(case: Case) -> np.ndarray:
    """(heads, total): what the last token's scores get, relative to its own."""
    row = np.where(case.added[:, -1] > -np.inf, case.added[:, -1], np.float32(0))
    return np.asarray(row - row[:, -1:], np.float32)


def _agrees(added: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether both are the same, apart from a number for each row; where the first forbids a key,
    the second may hold anything finite, or forbid it too."""
    allowed = np.broadcast_to(added > -np.inf, np.broadcast_shapes(added.shape, wanted.shape))
    if (np.isneginf(wanted) & allowed).any():
        return False
    if np.isneginf(wanted).any() and (np.isneginf(wanted) == allowed).any():
        return False
    with np.errstate(invalid="ignore"):
        difference = np.where(allowed, added - wanted, np.nan)
    spread = np.nanmax(difference, axis=2) - np.nanmin(difference, axis=2)
    return bool((spread <= TOLERANCE * np.abs(added[added > -np.inf]).max()).all())
