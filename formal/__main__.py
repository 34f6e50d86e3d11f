"""`python -m formal [NAME ...]`: prove, refute the mutants, print the table (`make formal`)."""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

from formal.catalogue import PROOFS
from formal.run import Outcome, run

_ROW = "{:34} {:22} {:>7} {:>8}  {}"


def _print(outcome: Outcome) -> None:
    print(_ROW.format(*outcome.columns), flush=True)
    for fault in outcome.faults:
        print(f"    FAILED: {fault}", flush=True)


def main() -> int:
    """0 if every proof holds and refutes its mutants, else 1."""
    parser = argparse.ArgumentParser(prog="python -m formal", description=__doc__)
    parser.add_argument("names", nargs="*", help="proofs whose names begin so; default: all")
    parser.add_argument("--quick", action="store_true", help="only those of the ordinary tests")
    parser.add_argument("--keep", type=Path, help="folder for models and traces of failures")
    arguments = parser.parse_args()
    # Banks that a proof replaces by models are made for nothing.
    warnings.filterwarnings("ignore", "(?s).*created but never used")
    chosen = [
        proof
        for proof in PROOFS
        if (not arguments.names or proof.name.startswith(tuple(arguments.names)))
        and (proof.quick or not arguments.quick)
    ]
    if not chosen:
        parser.error(f"no proof begins with any of {', '.join(arguments.names)}")
    print(_ROW.format("proof", "method", "seconds", "mutants", ""), flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for proof in chosen:
            outcome = run(proof, (arguments.keep or Path(scratch)) / proof.name)
            _print(outcome)
            failed += bool(outcome.faults)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
