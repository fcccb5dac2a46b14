"""Answers in OpenAI's shapes, whole and in pieces, of chats and of completions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from trimtab.server.writing import Likely, Part
from trimtab.thoughts import Reader


def usage(prompt: int, written: int) -> dict[str, int]:
    """How many tokens a request took."""
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


class Shape(Protocol):
    """How the answers to one request are told."""

    def whole(self, answers: Sequence[Part], used: dict[str, int]) -> dict[str, Any]:
        """All at once."""

    def first(self, number: int) -> dict[str, Any] | None:
        """What a stream says of an answer before it begins, if anything."""

    def piece(self, part: Part) -> dict[str, Any]:
        """What a stream says of one part."""

    def last(self, used: dict[str, int]) -> dict[str, Any]:
        """What a stream says behind all answers, of how many tokens they took."""


class _Shaped:
    _id = ""
    _whole = _piece = ""

    def __init__(self, request_id: str, model: str, reader: Reader, *, tells_usage: bool = False) -> None:
        self._base = {"id": f"{self._id}-{request_id}", "created": int(time.time()), "model": model}
        self._reader = reader
        self._tells_usage = tells_usage

    def _of(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        piece = {**self._base, "object": self._piece, "choices": choices}
        return {**piece, "usage": None} if self._tells_usage else piece

    def last(self, used: dict[str, int]) -> dict[str, Any]:
        """What a stream says behind all answers."""
        return {**self._of([]), "usage": used}

    def _text(self, token: int) -> str:
        return self._reader.piece(token).decode(errors="replace")


class ChatShape(_Shaped):
    """`chat.completion`, and `chat.completion.chunk` in a stream."""

    _id = "chatcmpl"
    _whole, _piece = "chat.completion", "chat.completion.chunk"

    def whole(self, answers: Sequence[Part], used: dict[str, int]) -> dict[str, Any]:
        """All answers at once."""
        choices = [
            {
                "index": part.number,
                "message": {
                    "role": "assistant",
                    "content": part.text,
                    "refusal": None,
                    **({"reasoning_content": part.thought} if part.thought else {}),
                },
                "logprobs": self._logprobs(part),
                "finish_reason": part.ended,
            }
            for part in answers
        ]
        return {**self._base, "object": self._whole, "choices": choices, "usage": used}

    def first(self, number: int) -> dict[str, Any]:
        """Who speaks."""
        return self._of([_delta(number, {"role": "assistant", "content": ""})])

    def piece(self, part: Part) -> dict[str, Any]:
        """What an answer grew by."""
        delta = {"content": part.text} if part.text else {}
        if part.thought:
            delta["reasoning_content"] = part.thought
        return self._of([_delta(part.number, delta, self._logprobs(part), part.ended)])

    def _logprobs(self, part: Part) -> dict[str, Any] | None:
        if not part.likely:
            return None
        content = [
            {
                **self._one(likely.token, likely.logprob),
                "top_logprobs": [self._one(token, logprob) for token, logprob in likely.top],
            }
            for likely in part.likely
        ]
        return {"content": content, "refusal": None}

    def _one(self, token: int, logprob: float) -> dict[str, Any]:
        spelled = self._reader.piece(token)
        return {
            "token": spelled.decode(errors="replace"),
            "logprob": _finite(logprob),
            "bytes": list(spelled),
        }


class CompletionShape(_Shaped):
    """`text_completion`, whole and in a stream."""

    _id = "cmpl"
    _whole = _piece = "text_completion"

    def __init__(self, request_id: str, model: str, reader: Reader, *, tells_usage: bool = False) -> None:
        super().__init__(request_id, model, reader, tells_usage=tells_usage)
        self._offsets: dict[int, int] = {}

    def whole(self, answers: Sequence[Part], used: dict[str, int]) -> dict[str, Any]:
        """All answers at once."""
        return {**self._of([self._choice(part) for part in answers]), "usage": used}

    def first(self, number: int) -> None:
        """Nothing."""

    def piece(self, part: Part) -> dict[str, Any]:
        """What an answer grew by."""
        return self._of([self._choice(part)])

    def _choice(self, part: Part) -> dict[str, Any]:
        return {
            "index": part.number,
            "text": part.text,
            "logprobs": self._logprobs(part.number, part.likely),
            "finish_reason": part.ended,
        }

    def _logprobs(self, number: int, likely: Sequence[Likely]) -> dict[str, Any] | None:
        if not likely:
            return None
        tokens = [self._text(one.token) for one in likely]
        offsets = []
        for token in tokens:
            offsets.append(self._offsets.setdefault(number, 0))
            self._offsets[number] += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [_finite(one.logprob) for one in likely],
            "top_logprobs": [
                {self._text(token): _finite(logprob) for token, logprob in one.top} for one in likely
            ],
            "text_offset": offsets,
        }


def _delta(
    number: int, delta: dict[str, Any], logprobs: Any = None, ended: str | None = None
) -> dict[str, Any]:
    return {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": ended}


def _finite(logprob: float) -> float:
    return max(logprob, -9999.0)  # as OpenAI and vLLM write what has no probability
