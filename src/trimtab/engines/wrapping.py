"""An engine around a model of transformers that somebody holds, with its tokenizer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from trimtab.engines.base import Engine, Model
from trimtab.errors import ModelError

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine

_engines: WeakValueDictionary[tuple[int, int], TransformersEngine] = WeakValueDictionary()
"""Of pairs, by the ids of both: an engine holds its pair, so that no id is used anew while it lives."""
_making = threading.Lock()


def as_engine(model: Model) -> Engine:
    """The engine that is meant: itself, or one around a model of transformers.

    As long as somebody holds the engine of a pair, the same pair gives it again.

    Args:
        model: An engine, or a causal language model of transformers and its tokenizer; the model is put into evaluation
            mode.

    Raises:
        ModelError: It is neither, or no causal language model.
    """
    from trimtab.engines.transformers import TransformersEngine

    if isinstance(model, Engine):
        return model
    if not (isinstance(model, Sequence) and len(model) == 2 and hasattr(model[0], "config")):
        raise ModelError(
            f"a model is an engine, such as trimtab.load gives, or a pair (model, tokenizer) of transformers, not "
            f"{described(model)}"
        )
    of_transformers, tokenizer = model
    key = id(of_transformers), id(tokenizer)
    with _making:
        engine = _engines.get(key)
        if engine is None:
            engine = _engines[key] = TransformersEngine(of_transformers, tokenizer)
        return engine


def described(value: Any) -> str:
    """What somebody gave in the place of a model, for a message, and what to do with it."""
    if isinstance(value, str):
        return f"the text {value!r}; load it: trimtab.load({value!r})"
    if hasattr(value, "generate"):
        return f"{type(value).__name__} alone; add its tokenizer: (model, tokenizer)"
    return type(value).__name__
