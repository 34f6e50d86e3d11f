"""Entry point that both command lines share: mistakes become one line and exit status 1."""

import sys
from typing import NoReturn

import typer


def run(app: typer.Typer, program: str, errors: tuple[type[Exception], ...]) -> NoReturn:
    """Run a command line and exit; ``errors`` are the user's mistakes, others keep a traceback."""
    try:
        status = app(standalone_mode=False)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone: `jalapeno disasm out.jx | head`
        status = 1
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        status = _fail(program, text)
    except errors as error:
        status = _fail(program, str(error))
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        # Mistakes in the command line; their class moved from click to typer.
        if not hasattr(error, "format_message"):
            raise
        status = _fail(program, error.format_message())
    raise SystemExit(status or 0)


def _fail(program: str, message: str) -> int:
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return 1
