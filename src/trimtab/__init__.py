"""trimtab: learn what an instruction does inside a language model, then apply it without saying it.

The public names are here; each is imported when it is first used, so that `import trimtab` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trimtab._version import __version__

if TYPE_CHECKING:
    from trimtab import condition, edits, engines, evaluate, instructions, learn, nano, prompts, tune
    from trimtab.composing import Composed, compose
    from trimtab.edits import Edit
    from trimtab.engines.base import Capture, Engine, Generation
    from trimtab.engines.loading import load
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.engines.vllm.engine import VllmEngine
    from trimtab.errors import InstructionError, ModelError, PromptError, SteeringError, TrimtabError
    from trimtab.following import Followed, follow
    from trimtab.steering import ModelIdentity, Record, Steering
    from trimtab.transferring import Transferred, transfer

__all__ = [
    "__version__",
    "load",
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
    "condition",
    "edits",
    "engines",
    "evaluate",
    "instructions",
    "learn",
    "nano",
    "prompts",
    "tune",
]

_HOMES = {
    "load": "trimtab.engines.loading",
    "follow": "trimtab.following",
    "Followed": "trimtab.following",
    "compose": "trimtab.composing",
    "Composed": "trimtab.composing",
    "transfer": "trimtab.transferring",
    "Transferred": "trimtab.transferring",
    "Steering": "trimtab.steering",
    "ModelIdentity": "trimtab.steering",
    "Record": "trimtab.steering",
    "Edit": "trimtab.edits",
    "Engine": "trimtab.engines.base",
    "TransformersEngine": "trimtab.engines.transformers",
    "VllmEngine": "trimtab.engines.vllm.engine",
    "Capture": "trimtab.engines.base",
    "Generation": "trimtab.engines.base",
    "TrimtabError": "trimtab.errors",
    "InstructionError": "trimtab.errors",
    "ModelError": "trimtab.errors",
    "PromptError": "trimtab.errors",
    "SteeringError": "trimtab.errors",
}
_MODULES = frozenset(
    {"condition", "edits", "engines", "evaluate", "instructions", "learn", "nano", "prompts", "tune"}
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"trimtab.{name}")
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value  # the next use finds it here
        return value
    raise AttributeError(f"module 'trimtab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
