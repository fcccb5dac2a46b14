"""What a person is told when a server starts: where it is, what it steers by, and who may change that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.steering.folder import STEERING

if TYPE_CHECKING:
    from trimtab.engines.names import Source


def client_name(model: str, source: Source) -> str:
    """What clients call a model where nobody said how: as it was asked for, a folder or a file by its own name."""
    from trimtab.engines.published import PUBLISHED

    return model if source.built_in or model in PUBLISHED else source.model_id


def announced(
    steerings: Path | None, folders: Sequence[Path], host: str, port: int | str, upload: bool
) -> tuple[str, ...]:
    """The lines, for a folder of steerings (None: there is none), its subfolders, an address, and what clients may."""
    shown = f"[{host}]" if ":" in host else host
    names = [folder.name for folder in folders if STEERING.document_path(folder).exists()]
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    notes = [f"address: http://{shown}:{port}/v1", f"steerings: {listed or 'none yet'}"]
    if steerings is not None and not names:
        notes.append(f"note: no subfolder of {steerings} holds a steering.json")
    if upload:
        notes.append("clients may load and unload steerings")
    else:
        notes.append(
            "clients may not load or unload steerings (--upload allows it; use it with an --api-key)"
        )
    return tuple(notes)
