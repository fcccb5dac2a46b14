"""Where the answer begins in what a model writes, while it writes it: behind its thought, row by row.

What a token is depends on all that was written before it. A forward pass from a cache shows only the last token, and
`generate` may put other rows in their place in between, as beam search does. So the text of each row is taken from what
`generate` is about to run (`Histories`), else from what passed through the decoder before.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from trimtab.errors import SteeringError
from trimtab.steering.edits import BEFORE_ANSWER, PROMPT
from trimtab.thoughts import Reader

_NAME = "prepare_inputs_for_generation"


class Histories:
    """While installed, notes the whole text of each row that a model's `generate` is about to run."""

    def __init__(self, model: nn.Module) -> None:
        self.ids: Tensor | None = None
        self._undo: list[tuple[nn.Module, Any]] = []
        for module in model.modules():  # also that inside a compiled or otherwise wrapped one
            if callable(getattr(type(module), _NAME, None)):
                self._undo.append((module, vars(module).get(_NAME)))
                vars(module)[_NAME] = self._noting(getattr(module, _NAME))

    def remove(self) -> None:
        """Leaves the model as it was."""
        for module, before in self._undo:
            vars(module).pop(_NAME, None)
            if before is not None:
                vars(module)[_NAME] = before
        self._undo = []

    def _noting(self, original: Any) -> Any:
        @functools.wraps(original)
        def prepare(*args: Any, **kwargs: Any) -> Any:
            ids = args[0] if args else kwargs.get("input_ids")
            self.ids = ids if isinstance(ids, Tensor) and ids.dim() == 2 else None
            return original(*args, **kwargs)

        return prepare


class Answers:
    """Tells which tokens of a forward pass are of an answer; for the rows of one text at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._prompts: dict[tuple[int, ...], int] = {}
        self.restart()

    def restart(self) -> None:
        """Forgets the text, for a new one."""
        self._ids: Tensor | None = None  # [rows, columns], all that was seen
        self._begins: Tensor | None = None  # [rows], the first column that the model wrote
        self._nodes: Tensor | None = None  # [rows], where each stands behind the last column
        self._phases = torch.empty(0, 0)  # [rows, columns]

    def phases(
        self,
        ids: Tensor | None,
        shape: tuple[int, int],
        written: Tensor,
        counts: Tensor | None,
        past: int,
        history: Tensor | None,
    ) -> Tensor:
        """The phase of each token of a forward pass, as `EditTable.apply` takes it.

        Args:
            ids: `[rows, tokens]`; None where the decoder is run with embeddings.
            shape: Of `ids`, or what it would be.
            written: Bool, broadcastable to that: the tokens that the model wrote.
            counts: `[rows or 1]`, how many tokens the model wrote up to the last one, where that is known.
            past: How many tokens are in the cache.
            history: `[rows, columns]`, the text that `generate` is about to run; None where it is not known.
        """
        rows, tokens = shape
        text = self._text(ids, (rows, past + tokens), past, history)
        written = written.to(text.device)
        if len(written) not in (1, rows):
            written = written.repeat_interleave(rows // len(written), dim=0)
        written = written.expand(rows, tokens)
        kept = self._ids is not None and self._is_continued(text)
        begins = self._first_written(text, written, counts, past)
        start = self._ids.shape[1] if kept and self._ids is not None else 0
        table = self._reader.table.to(text.device)
        columns = torch.arange(start, text.shape[1], device=text.device)[None]
        first = columns <= begins[:, None]
        first[:, :1] = True
        at_first = torch.zeros(rows, dtype=torch.long, device=text.device)
        if kept and self._nodes is not None:
            at_first = self._nodes
        before = at_first[:, None].expand(rows, columns.shape[1])
        begin_here = (begins >= start) & (begins < text.shape[1])
        if bool(begin_here.any()):
            prompts = self._behind_prompts(text, begins)
            before = torch.where(columns == begins[:, None], prompts[:, None], before)
        nodes = table.follow(
            text[:, start:].reshape(-1), before.reshape(-1), first.reshape(-1), columns.shape[1]
        ).view(rows, -1)
        self._ids, self._begins, self._nodes = text, begins, nodes[:, -1]
        phases = table.is_answer[nodes].long() + BEFORE_ANSWER
        phases = torch.where(columns < begins[:, None], PROMPT, phases)
        self._phases = torch.cat([self._phases, phases], dim=1) if kept else phases
        return self._phases[:, -tokens:]

    def _text(self, ids: Tensor | None, shape: tuple[int, int], past: int, history: Tensor | None) -> Tensor:
        if history is not None and history.shape == shape:
            return history
        if ids is not None and past == 0:
            return ids
        seen = self._ids
        if ids is not None and seen is not None and seen.shape == (len(ids), past):
            return torch.cat([seen, ids.to(seen.device)], dim=1)
        raise SteeringError(
            "some edits act on the answer alone, and "
            + (
                "the decoder was run with embeddings instead of token ids"
                if ids is None
                else f"the cache of this forward pass holds {past} tokens that were not seen here"
            )
            + ", so it is not known where the thought ends; run the model by generate(), or from the beginning of the "
            "text, with token ids"
        )

    def _is_continued(self, text: Tensor) -> bool:
        """Whether the rows are those of before, with more behind them."""
        seen = self._ids
        return (
            seen is not None
            and len(seen) == len(text)
            and seen.shape[1] < text.shape[1]
            and torch.equal(seen, text[:, : seen.shape[1]])
        )

    def _first_written(self, text: Tensor, written: Tensor, counts: Tensor | None, past: int) -> Tensor:
        """The first column of each row that the model wrote; one past the last where there is none yet."""
        columns = text.shape[1]
        here = past + written.int().argmax(dim=1)
        here = torch.where(written.any(dim=1), here, columns)
        if past == 0:
            return here
        if self._begins is not None and len(self._begins) == len(text):
            # What is in the cache is the prompt, unless it was known before to be more.
            return torch.where(self._begins < past, self._begins, here)
        if counts is None:
            return here
        counts = counts.to(text.device).clamp(min=0)
        if len(counts) not in (1, len(text)):
            counts = counts.repeat_interleave(len(text) // len(counts), dim=0)
        return (columns - counts).expand(len(text))

    def _behind_prompts(self, text: Tensor, begins: Tensor) -> Tensor:
        """Where each row stands behind its prompt."""
        known = []
        for row, begin in zip(text.tolist(), begins.tolist(), strict=True):
            prompt = tuple(row[:begin])
            if prompt not in self._prompts:
                self._prompts[prompt] = self._reader.table.number(self._reader.after(prompt))
            known.append(self._prompts[prompt])
        return torch.tensor(known, device=text.device)
