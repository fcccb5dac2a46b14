"""What other packages declare in an entry-point group, loaded; one that fails is left out with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any


def load_each(group: str, what: str, take: Callable[[Any], object]) -> None:
    """Hands on what installed packages declare.

    Whatever a plug-in raises is its own: a broken package does not take the others with it.

    Args:
        group: The entry-point group.
        what: What is declared there, for the warning: `"the format"`.
        take: What is done with each; what it refuses is left out too.
    """
    for entry in entry_points(group=group):
        try:
            take(entry.load())
        except Exception as error:  # noqa: BLE001 (whatever a plug-in raises is its own)
            warnings.warn(f"{what} of plug-in {entry.name!r} ({entry.value}) failed: {error}", stacklevel=3)
