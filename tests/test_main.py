"""The `trimtab` command as a process: interrupted while it is imported, and after all is done."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# What a shell starts in the background ignores interrupts, and so would what it starts.
_INTERRUPTED = """\
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)

class Lost:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            if LOST:
                Lost()
            else:
                os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["trimtab", "generate", "Why?", "--max-new-tokens", "1"]
from trimtab.__main__ import main
main()
"""
_DONE = """\
import atexit, os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
sys.argv = ["trimtab", "--version"]
from trimtab.__main__ import main
main()
"""
_CODES = (130, -signal.SIGINT)
"""A shell reads 130 of both: Python ends by the signal itself where an interrupt came through code made of text."""


@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot send itself an interrupt")
@pytest.mark.parametrize(
    ("module", "lost"),
    [
        ("typer", False),
        ("torch.functional", False),
        ("torch.functional", True),
        ("transformers.utils", False),
    ],
)
def test_an_interrupt_while_it_is_imported_is_one_line(module: str, lost: bool) -> None:
    code = f"MODULE, LOST = {module!r}, {lost}\n{_INTERRUPTED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "interrupted\n")
    assert done.returncode in _CODES


@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot send itself an interrupt")
def test_an_interrupt_after_all_is_done_changes_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", _DONE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("trimtab ")
