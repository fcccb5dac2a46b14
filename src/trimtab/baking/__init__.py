"""Baking: a checkpoint that carries a steering in its weights, for runtimes that know no steering."""

from trimtab.baking.adapter import Adapter, write_adapter
from trimtab.baking.baked import Answered, Approximation, Baked, Check
from trimtab.baking.baking import WAYS, Way, bake
from trimtab.baking.gguf_file import write_gguf

__all__ = [
    "WAYS",
    "Adapter",
    "Answered",
    "Approximation",
    "Baked",
    "Check",
    "Way",
    "bake",
    "write_adapter",
    "write_gguf",
]
