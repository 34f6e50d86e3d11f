"""Results of a sweep as they come: a file that only grows, a line of JSON each."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sim.sweep.values import SweepError

Row = dict[str, Any]


class Journal:
    """Rows by their ``key``; what a later line says of a key is added to what is known.

    A line is written in one piece before it counts, and a last one that is torn is dropped, so a
    process that is killed at any moment leaves all rows that were finished.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self._handle = path, handle
        self.rows: dict[str, Row] = {}

    def add(self, row: Row) -> None:
        """Keep a row. Raises OSError, after which the file is as before."""
        data = json.dumps(row).encode() + b"\n"
        end = os.lseek(self._handle, 0, os.SEEK_END)
        try:
            written = 0
            while written < len(data):
                written += os.write(self._handle, data[written:])
        except OSError as error:
            if self.path.is_file():
                os.ftruncate(self._handle, end)
            raise type(error)(error.errno, error.strerror, str(self.path)) from None
        self._merge(row)

    def _merge(self, row: Row) -> None:
        self.rows[row["key"]] = self.rows.get(row["key"], {}) | row

    def read(self) -> None:
        """All rows of the file, of which an interruption may have left one that is not known."""
        if not self.path.is_file():
            return
        whole = self.path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]
        if len(kept) != len(whole):
            os.ftruncate(self._handle, len(kept))
        for number, line in enumerate(kept.splitlines(), 1):
            try:
                self._merge(json.loads(line))
            except (ValueError, KeyError, TypeError):
                raise SweepError(
                    f"{self.path} line {number}: not a row of results: delete the line"
                ) from None


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """The journal, made if need be. Raises OSError, and SweepError where another process writes to
    it or a line is not legible."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SweepError(f"{path}: another sweep is writing to it") from None
        journal = Journal(path, handle)
        journal.read()
        yield journal
    finally:
        os.close(handle)
