"""The process that `trimtab serve` becomes: vLLM's own server, in which a refusal of ours is one line."""

from __future__ import annotations

import runpy
import sys

from trimtab.errors import TrimtabError

SERVER = "vllm.entrypoints.openai.api_server"
"""The module of vLLM's server; the arguments of this process are its own."""


def main() -> int:
    """Run vLLM's server.

    Returns:
        The exit code: 0, or 2 if steering cannot be served as asked for. Other errors are raised as vLLM raises them.
    """
    try:
        runpy.run_module(SERVER, run_name="__main__")
    except TrimtabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
