"""Baking: a checkpoint that carries a steering in its weights, for runtimes that know no steering."""

from trimtab.baking.baked import Baked
from trimtab.baking.baking import WAYS, Way, bake

__all__ = ["WAYS", "Baked", "Way", "bake"]
