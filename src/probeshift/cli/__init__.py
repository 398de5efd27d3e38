"""The door: parse, one library call, print. The only place with print, progress bars and exit codes.

Exit codes: 0 done; 1 the run failed; 2 not valid as given; 4 model or data missing; 5 out of memory; 130 and 143 interrupted.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

import probeshift.cli.threads  # noqa: F401  (first: it says how libraries' threads wait)
from probeshift.cli.console import say
from probeshift.cli.lazy import LazyGroup
from probeshift.errors import ProbeshiftError

app = typer.Typer(
    cls=LazyGroup,
    help="Does a direction found in one place of a language model's activation space still hold somewhere else?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
    epilog="Try first: probeshift demo",
)


@app.callback()
def _shared(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what is going on.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings only.")] = False,
) -> None:
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)


class Interrupted(BaseException):
    """A signal asked us to stop."""

    def __init__(self, signal_number: int) -> None:
        self.exit_code = 128 + signal_number


def _interrupt(signal_number: int, _: FrameType | None) -> None:
    raise Interrupted(signal_number)


def main() -> None:
    """Run the command line and turn what a user can cause into one sentence and an exit code."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # other libraries' bars, in logs and pipes
    try:
        app()
    except ProbeshiftError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except Interrupted as stop:
        say(f"interrupted. What is finished is kept; continue with:\n  probeshift {shlex.join(sys.argv[1:])}")
        sys.exit(stop.exit_code)
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
