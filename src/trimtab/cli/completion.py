"""What the shell offers to complete: names of instructions and of models."""

from __future__ import annotations


def instruction_names(incomplete: str) -> list[str]:
    """Short names of instructions that begin so, plug-ins' among them."""
    from trimtab import instructions

    return [name for name in instructions.names() if name.startswith(incomplete)]


def model_names(incomplete: str) -> list[str]:
    """The built-in and the published models whose names begin so; folders, the shell completes by itself."""
    from trimtab.engines import published

    return [name for name in ("nano", "nano-base", *published.PUBLISHED) if name.startswith(incomplete)]
