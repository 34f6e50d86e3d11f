"""Array files of the command line."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isa.files import whole_file
from sim.host import InputError


def write_arrays(path: str | Path, arrays: dict[str, NDArray]) -> None:
    """Write an .npz."""
    with whole_file(path) as file:
        savez: Callable[..., None] = np.savez  # its stub takes names of arrays for options
        savez(file, **arrays)


def read_arrays(path: str | Path) -> dict[str, NDArray]:
    """All arrays of an .npz; InputError if it is none."""
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            raise InputError(f"{path}: expected an .npz with named arrays, not a single array")
        with content:
            return dict(content)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except InputError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not an .npz of plain arrays: {error}") from None
