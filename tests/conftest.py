"""No test reaches a network, and waiting threads do not spin; said before anything imports numpy, torch or transformers."""

import os
import signal
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import scipy.linalg
from threadpoolctl import threadpool_limits

import probeshift.cli.threads
from probeshift import cli

# A test runner may have loaded numpy before; the oracles are small.
BLAS = threadpool_limits(1, user_api="blas")

__all__ = ["BLAS", "probeshift", "scipy"]

# Files of minutes, begun first: begun last, one of them would leave the other workers idle.
LONGEST = (
    "test_demo_golden.py", "test_how_to.py", "test_notebooks.py", "test_tutorial.py", "test_compare.py", "test_transfer_run.py",
    "test_demo.py", "test_html_report_browser.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line in this process; gives exit code, stdout, stderr."""

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["probeshift", *map(str, args)])
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            signal.signal(signal.SIGINT, before[0])
            signal.signal(signal.SIGTERM, before[1])
        out, err = capsys.readouterr()
        return code, out, err

    return call
