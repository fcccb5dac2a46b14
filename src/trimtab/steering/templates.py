"""Chat templates: whether a tokenizer has one, what it is called in identities, its options, and what it writes."""

from __future__ import annotations

import ctypes
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from trimtab.errors import ModelError
from trimtab.steering.documents import sha256

PLAIN = "plain"

_OF_TRANSFORMERS = ("transformers.tokenization_utils_base", "transformers.processing_utils")
"""Where the method is that needs a `chat_template`; what has another one writes chats by itself."""
_EXAMPLE = [{"role": "user", "content": "hi"}]
_SAID = "lighthouse"
SECONDS = 10.0
"""How long a template may take for a word; it takes a thousandth of a second."""


def has_template(tokenizer: Any) -> bool:
    """Whether the tokenizer has a chat template of its own, or writes chats without one (else: the plain format)."""
    return bool(getattr(tokenizer, "chat_template", None)) or writes_chats_itself(tokenizer)


def writes_chats_itself(tokenizer: Any) -> bool:
    """Whether it is a tokenizer like Mistral's, whose `apply_chat_template` is a program and no template."""
    if getattr(tokenizer, "chat_template", None):
        return False
    return hasattr(type(tokenizer), "apply_chat_template") and not _renders(tokenizer)


def _renders(tokenizer: Any) -> bool:
    method = getattr(type(tokenizer), "apply_chat_template", None)
    return getattr(method, "__module__", None) in _OF_TRANSFORMERS


def template_digest(tokenizer: Any) -> str:
    """Name the prompt format: `"sha256:..."` of the chat template's text, or `"plain"` for a model without one.

    A steering records it, because directions learned under one template do not fit another. Of a tokenizer that writes
    chats itself it is that of a short chat.
    """
    if not has_template(tokenizer):
        return PLAIN
    if writes_chats_itself(tokenizer):
        try:
            text = str(rendered(tokenizer, _EXAMPLE, add_generation_prompt=True))
        except Exception:  # noqa: BLE001 - another's program: it can raise anything, and is told of when it is asked
            text = type(tokenizer).__name__
        return sha256(text.encode())
    template = tokenizer.chat_template
    if not isinstance(template, str):  # some tokenizers name several templates
        template = json.dumps(template, sort_keys=True, ensure_ascii=False)
    return sha256(template.encode())


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, str]], **options: Any) -> Any:
    """What the template makes of a chat: text, unless `tokenize=True` is among the options of `apply_chat_template`.

    A template that writes the date or the time writes those at which this process first rendered one: what is learned,
    measured and kept of one run is then of one prompt.
    """
    own = {"strftime_now": _run_began().strftime} if _renders(tokenizer) else {}
    return tokenizer.apply_chat_template(list(messages), **{"tokenize": False, **own, **options})


def _ended(run: Callable[[], Any]) -> Any:
    """What a function gives; one that takes longer than `SECONDS` is stopped between two steps of Python."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(run())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        # A loop of Jinja is one of Python: an exception from outside ends it.
        number, stop = ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeoutError)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, stop)
        thread.join(SECONDS)
        raise TimeoutError
    if errors:
        raise errors[0]
    return results[0]


@lru_cache(maxsize=1)
def _run_began() -> datetime:
    return datetime.now()


def leaves_out_user(tokenizer: Any) -> bool:
    """Whether the chat template writes a chat without what the user says in it: whatever is asked is the same then.

    Raises:
        TimeoutError: It does not come to an end.
    """
    if not has_template(tokenizer):
        return False
    chat = [{"role": "user", "content": _SAID}]
    try:
        text = _ended(partial(rendered, tokenizer, chat, add_generation_prompt=True))
    except TimeoutError:
        raise
    except Exception:  # noqa: BLE001 - another's program: it can raise anything, and is told of when it is asked
        return False
    return isinstance(text, str) and _SAID not in text.lower()


def set_options(tokenizer: Any, options: Mapping[str, Any], model: str) -> None:
    """Fixes variables of a tokenizer's chat template, such as `enable_thinking` or `date_string`.

    They are written into the template's text, in front: so they hold wherever it is used, and count in its digest.

    Raises:
        ModelError: It has no template, or its template none of that name.
    """
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        raise ModelError(
            f"{model} has no chat template, so that there is nothing to set: leave template_options out"
        )
    several = dict(template) if isinstance(template, Mapping) else {"default": template}
    for name in options:
        named = isinstance(name, str) and name.isidentifier()
        if not named or not any(re.search(rf"\b{name}\b", text) for text in several.values()):
            raise ModelError(
                f"the chat template of {model} has no variable {name}; template_options are those that its text reads"
            )
    front = "".join(f"{{% set {name} = {_literal(value)} %}}" for name, value in options.items())
    front += "{{ '' }}"  # or a line break at the beginning of the template would go
    changed = {name: front + text for name, text in several.items()} if options else several
    tokenizer.chat_template = changed if isinstance(template, Mapping) else changed["default"]


def _literal(value: Any) -> str:
    """A value of JSON as Jinja writes it."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(str(key))}: {_literal(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False)
    raise ModelError(f"template_options are plain JSON, not {type(value).__name__}")
