"""trimtab: learn what an instruction does inside a language model, then apply it without saying it.

The public names are here; each is imported when it is first used, so that `import trimtab` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trimtab._version import __version__

if TYPE_CHECKING:
    from trimtab import (
        baking,
        demo,
        engines,
        evaluate,
        formats,
        instructions,
        learn,
        measure,
        nano,
        prompts,
        reproduce,
        thoughts,
        tune,
    )
    from trimtab.engines.base import Capture, Engine, Generation
    from trimtab.engines.loading import load
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.errors import (
        InstructionError,
        ModelError,
        PromptError,
        SteeringError,
        TrimtabError,
    )
    from trimtab.following import Followed, follow
    from trimtab.learn.compose import Composed, compose
    from trimtab.steering import edits, when
    from trimtab.steering.edits import Edit
    from trimtab.steering.held import on
    from trimtab.steering.steering import ModelIdentity, Record, Steering
    from trimtab.transferring import linear_map
    from trimtab.transferring.move import Transferred, transfer
    from trimtab.vllm.engine import VllmEngine

__all__ = [
    "__version__",
    "load",
    "on",
    "follow",
    "Followed",
    "compose",
    "Composed",
    "transfer",
    "Transferred",
    "Steering",
    "Edit",
    "ModelIdentity",
    "Record",
    "Engine",
    "TransformersEngine",
    "VllmEngine",
    "Capture",
    "Generation",
    "TrimtabError",
    "InstructionError",
    "ModelError",
    "PromptError",
    "SteeringError",
    "baking",
    "demo",
    "edits",
    "engines",
    "evaluate",
    "formats",
    "instructions",
    "learn",
    "linear_map",
    "measure",
    "nano",
    "prompts",
    "reproduce",
    "thoughts",
    "tune",
    "when",
]

_HOMES = {
    "load": "trimtab.engines.loading",
    "on": "trimtab.steering.held",
    "follow": "trimtab.following",
    "Followed": "trimtab.following",
    "compose": "trimtab.learn.compose",
    "Composed": "trimtab.learn.compose",
    "transfer": "trimtab.transferring.move",
    "Transferred": "trimtab.transferring.move",
    "Steering": "trimtab.steering.steering",
    "ModelIdentity": "trimtab.steering.steering",
    "Record": "trimtab.steering.steering",
    "Edit": "trimtab.steering.edits",
    "Engine": "trimtab.engines.base",
    "TransformersEngine": "trimtab.engines.transformers",
    "VllmEngine": "trimtab.vllm.engine",
    "Capture": "trimtab.engines.base",
    "Generation": "trimtab.engines.base",
    "TrimtabError": "trimtab.errors",
    "InstructionError": "trimtab.errors",
    "ModelError": "trimtab.errors",
    "PromptError": "trimtab.errors",
    "SteeringError": "trimtab.errors",
}
_MODULES = {
    "edits": "trimtab.steering.edits",
    "when": "trimtab.steering.when",
    "linear_map": "trimtab.transferring.linear_map",
    **{
        name: f"trimtab.{name}"
        for name in (
            "baking",
            "demo",
            "engines",
            "evaluate",
            "formats",
            "instructions",
            "learn",
            "measure",
            "nano",
            "prompts",
            "reproduce",
            "thoughts",
            "tune",
        )
    },
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value  # the next use finds it here
        return value
    raise AttributeError(f"module 'trimtab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
