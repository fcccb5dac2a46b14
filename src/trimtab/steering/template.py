"""Which chat template a tokenizer has: part of which model something was learned on."""

from __future__ import annotations

import hashlib
import json
from typing import Any

PLAIN = "plain"


def has_template(tokenizer: Any) -> bool:
    """Whether the tokenizer has a chat template of its own (else the plain format is used)."""
    return bool(getattr(tokenizer, "chat_template", None))


def template_digest(tokenizer: Any) -> str:
    """Name the prompt format: `"sha256:..."` of the chat template's text, or `"plain"` for a model without one.

    A steering records it, because directions learned under one template do not fit another.
    """
    if not has_template(tokenizer):
        return PLAIN
    template = tokenizer.chat_template
    if not isinstance(template, str):  # some tokenizers name several templates
        template = json.dumps(template, sort_keys=True, ensure_ascii=False)
    return "sha256:" + hashlib.sha256(template.encode()).hexdigest()
