"""Which model something is learned on or applied to, the same for everything that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.steering.record import ModelIdentity
from trimtab.steering.templates import template_digest


def model_identity(
    config: Any,
    tokenizer: Any,
    *,
    blocks: int,
    model_id: str | None = None,
    revision: str | None = None,
    weights: str | None = None,
) -> ModelIdentity:
    """Which model this is, the same for whatever runs it; without an id or a revision, as its config knows them."""
    return ModelIdentity(
        id=model_id or _name_of(getattr(config, "_name_or_path", "")) or config.model_type,
        revision=revision or getattr(config, "_commit_hash", None),
        architecture=config.model_type,
        blocks=blocks,
        width=int(config.get_text_config().hidden_size),
        chat_template=template_digest(tokenizer),
        weights=weights,
    )


def _name_of(loaded_from: str) -> str:
    """What `load` calls what transformers loaded from there."""
    folder = Path(loaded_from).expanduser()
    return folder_id(folder.resolve()) if loaded_from and folder.is_dir() else loaded_from


def folder_id(folder: Path) -> str:
    """The folder's name; for one in the Hub's cache, the name on the Hub."""
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/")
    return folder.name
