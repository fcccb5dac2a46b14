"""`python -m trimtab` is the `trimtab` command."""

from trimtab.cli.app import main

main()
