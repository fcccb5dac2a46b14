"""lm-eval's command line, which knows `--model trimtab` then."""

from __future__ import annotations

import sys

from trimtab.errors import TrimtabError


def main() -> int:
    """Runs it.

    Returns:
        0: done. 2: a mistake of the user, in one line.
    """
    try:
        from lm_eval.__main__ import cli_evaluate

        import trimtab.harness  # noqa: F401

        cli_evaluate()
    except TrimtabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
