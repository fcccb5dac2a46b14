"""Forward passes of the rows of a batch: over whole texts, and over the newest token of each."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trimtab.engines.attention import quick_attention
from trimtab.engines.continuous.asks import Row
from trimtab.engines.continuous.cache import has_columns
from trimtab.engines.padding import left_padded
from trimtab.steering.blocks import DecoderBlocks
from trimtab.steering.changing_rows import ChangingRows
from trimtab.steering.edits import ANSWER, BEFORE_ANSWER, PROMPT
from trimtab.steering.hooks import Steered
from trimtab.steering.row_edits import RowEdits
from trimtab.thoughts import Reader

# What models call what they keep from token to token.
_CACHES = ("past_key_values", "cache_params")


class Forward:
    """Runs a model, steered row by row. `Row.text` is what is run; phases are told by what is known of each row."""

    def __init__(
        self, model: Any, place: DecoderBlocks, pad: int, device: torch.device, thoughts: Reader | None
    ) -> None:
        self._model = model
        self._place = place
        self._pad = pad
        self._device = device
        self._thoughts = None if thoughts is None or thoughts.is_trivial else thoughts
        parameters = inspect.signature(model.forward).parameters
        self._cache_name = next((name for name in _CACHES if name in parameters), None)
        self._positioned = "position_ids" in parameters
        self._only_last = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        self._changing = ChangingRows()
        self._last: tuple[list[Row], RowEdits] = ([], RowEdits([]))

    @property
    def keeps(self) -> bool:
        """Whether the model keeps anything from token to token."""
        return self._cache_name is not None

    def begin(self, row: Row) -> None:
        """Before a row is run first: which of its tokens are of which phase."""
        scopes = {edit.tokens for edit in row.ask.edits}
        if scopes <= {"all"}:
            return
        prompt = row.ask.prompt_length or len(row.ask.prompt_tokens)
        row.phases = [PROMPT] * prompt
        if self._thoughts is not None and "answer" in scopes:
            row.node = self._thoughts.after(row.text[:prompt])
        for token in row.text[prompt:]:
            self.read(row, token)

    def read(self, row: Row, token: int) -> None:
        """After a token was written: what phase it is of."""
        if row.phases is None:
            return
        if row.node is None or self._thoughts is None:
            row.phases.append(ANSWER)
            return
        row.node = self._thoughts.read(row.node, token)
        row.phases.append(ANSWER if self._thoughts.marks.is_answer(row.node) else BEFORE_ANSWER)

    def whole(self, rows: Sequence[Row]) -> tuple[Tensor, Any]:
        """The logits `[rows, vocabulary]` behind the texts of rows, and what the model keeps of them."""
        ids, mask = left_padded([row.text for row in rows], self._pad, self._device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        width = ids.shape[1]
        phases = [[PROMPT] * (width - len(row.text)) + _phases(row) for row in rows]
        return self._run(rows, ids, mask, positions, phases, None)

    def newest(self, rows: Sequence[Row], cache: Any, past: int) -> tuple[Tensor, Any]:
        """The logits behind the newest token of each row, whose others are in the cache, which has `past` columns."""
        lengths = torch.tensor([len(row.text) - 1 for row in rows])
        ids = torch.tensor([[row.text[-1]] for row in rows], device=self._device)
        mask = None
        if has_columns(cache):
            mask = (torch.arange(past + 1)[None] >= (past - lengths)[:, None]).long().to(self._device)
        phases = [_phases(row)[-1:] for row in rows]
        return self._run(rows, ids, mask, lengths[:, None].to(self._device), phases, cache)

    def _run(
        self,
        rows: Sequence[Row],
        ids: Tensor,
        mask: Tensor | None,
        positions: Tensor,
        phases: list[list[int]],
        cache: Any,
    ) -> tuple[Tensor, Any]:
        inputs: dict[str, Any] = {"input_ids": ids, **self._only_last}
        if mask is not None:
            inputs["attention_mask"] = mask
        if self._positioned:
            inputs["position_ids"] = positions
        inputs["use_cache"] = self.keeps
        if self._cache_name is not None and cache is not None:
            inputs[self._cache_name] = cache
        edits = self._edits(rows)
        told = torch.tensor(phases, device=self._device) if edits.is_scoped else None
        steered = Steered(self._place, edits, told)
        with torch.inference_mode(), steered, quick_attention(self._device):
            out = self._model(**inputs, return_dict=True)
        kept = None if self._cache_name is None else getattr(out, self._cache_name, None)
        if kept is None:  # what it keeps, if anything, it keeps to itself
            self._cache_name = None
        return out.logits[:, -1], kept

    def _edits(self, rows: Sequence[Row]) -> RowEdits:
        before, edits = self._last
        if len(before) != len(rows) or any(one is not other for one, other in zip(before, rows, strict=True)):
            edits = self._changing.of([row.ask.edits for row in rows])
            self._last = (list(rows), edits)
        return edits

    def forget(self) -> None:
        """Lets go of the rows that were run last."""
        self._last = ([], RowEdits([]))


def _phases(row: Row) -> list[int]:
    return [PROMPT] * len(row.text) if row.phases is None else row.phases
