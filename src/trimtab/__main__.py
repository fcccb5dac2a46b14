"""The `trimtab` command, also as `python -m trimtab`."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from typing import Any


def main() -> None:
    """Run the command line; an interrupt while it is imported, or an output that is gone, is one line."""
    try:
        _stand_in_for_closed_streams()
        sys.unraisablehook = _interrupt_again
        from trimtab.cli.app import main as command

        command()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except OSError as error:
        if error.filename is not None:
            raise
        # A full disk, or a closed stream: what is left in the buffer would be told of again when Python ends.
        sys.stderr.write(f"error: cannot write to standard output: {error.strerror or error}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(2)
    finally:
        # All is done and told: Python's own end, which takes a moment, is not to be interrupted.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt_again(lost: Any) -> None:
    """An interrupt that meets a destructor or the callback of an import ends there: it comes again a moment later."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    again = threading.Timer(0.01, _thread.interrupt_main)
    again.daemon = True
    again.start()


def _stand_in_for_closed_streams() -> None:
    """Where an output is closed, take its number, or the next file that is opened would, and be printed into.

    What is written to standard output then fails, as it should: nobody would see it.
    """
    for number, name, flags in ((1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, flags)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    main()
