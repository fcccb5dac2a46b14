"""Messages of the library in the words of the command line, and what shared files say, harmless to a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_OPTIONS = {
    "(`cache`)": "(--cache DIR), or keep no answers (--no-cache)",
    "(`moved_to`, `allow_other_model`)": "(trimtab transfer)",
    "trust_remote_code=True": "--trust-remote-code",
    "do_sample=True": "--sample",
    "do_sample=False": "leaving --sample out",
    "max_new_tokens": "--max-new-tokens",
    "batch_size": "--batch-size",
    "gguf_file=": "--gguf-file ",
    "device_map": "--device-map",
}
"""What a function calls its arguments, and what a command calls them."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def worded(error: BaseException) -> str:
    """The message of an error, for a person at a terminal."""
    text = str(error)
    for ours, theirs in _OPTIONS.items():
        text = re.sub(rf"(?<![\w-]){re.escape(ours)}", theirs, text)
    return shown(text)


def shown(text: str) -> str:
    """A text with its control characters, but tabs and ends of lines, as Python writes them: a terminal obeys none."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


class HarmlessConsole(Console):
    """A console on which texts are shown, not obeyed: names and records of shared steerings are written by anyone."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich renders; its own codes for colours and the cursor stay."""
        for one in super().render(renderable, options):
            yield one if one.control or not _CONTROL.search(one.text) else Segment(shown(one.text), one.style)
