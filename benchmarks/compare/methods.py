"""The methods of the table, in its order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from benchmarks.compare.task import Method
from trimtab.errors import TrimtabError

UNSTEERED = ("baseline", "instructed")
"""The two rows without a method: the bare question, and the instruction in words."""

_ADAPTERS = (
    "prompting",
    "paper",
    "mean_difference",
    "repeng",
    "steering_vectors",
    "psr",
    "lora",
    "constrained",
    "distilled",
)


@cache
def all_methods() -> dict[str, Method]:
    """Every method by its key, in the order of the table; no package of another library is imported yet.

    Raises:
        ValueError: Two methods have the same key.
    """
    found: dict[str, Method] = {}
    for name in _ADAPTERS:
        for method in import_module(f"benchmarks.compare.adapters.{name}").METHODS:
            if method.key in found or method.key in UNSTEERED:
                raise ValueError(f"two methods are called {method.key!r}")
            found[method.key] = method
    return found


def parse_methods(names: str | None) -> list[Method]:
    """The methods named, separated by commas; all when None.

    Raises:
        TrimtabError: There is no such method.
    """
    known = all_methods()
    if names is None:
        return list(known.values())
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in known]:
        raise TrimtabError(f"there is no method {unknown[0]!r}; the methods are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]


def versions(method: Method) -> dict[str, str | None]:
    """The installed version of each package a method needs; None for one that is missing."""
    found: dict[str, str | None] = {}
    for package in method.packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def installed(methods: Sequence[Method]) -> tuple[list[Method], dict[str, list[str]]]:
    """Those that can run, and what is missing for the others, by title."""
    ready: list[Method] = []
    missing: dict[str, list[str]] = {}
    for method in methods:
        lacking = [package for package, found in versions(method).items() if found is None]
        if lacking:
            missing[method.title] = lacking
        else:
            ready.append(method)
    return ready, missing
