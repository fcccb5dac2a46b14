"""The `trimtab` command, also as `python -m trimtab`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; an interrupt while it is imported, or an output that is gone, is one line."""
    try:
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


if __name__ == "__main__":
    main()
