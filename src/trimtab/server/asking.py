"""The routes at which answers are asked for: `/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from trimtab.errors import TrimtabError
from trimtab.serve.incoming import json_of
from trimtab.serve.refusal import RefusedError
from trimtab.server.backend import CHAT, COMPLETIONS
from trimtab.server.fields import Body, ChatBody, CompletionBody, read
from trimtab.server.front import Record, record_of
from trimtab.server.preparing import Prepared
from trimtab.server.runner import BusyError
from trimtab.server.shapes import ChatShape, CompletionShape, Shape, usage
from trimtab.server.writing import Answers, Part

if TYPE_CHECKING:
    from trimtab.server.embedded import Embedded

_QUICK = 2**14
"""Bytes of a body up to which others wait for its tokens to be counted, since a thread would take longer."""
_GONE = 499


def add_routes(app: FastAPI) -> None:
    """Adds the routes to an application that keeps an `Embedded` as `state.embedded`."""
    app.add_api_route(CHAT, _answering(_chat), methods=["POST"])
    app.add_api_route(COMPLETIONS, _answering(_completion), methods=["POST"])


def _answering(route: Callable[[Embedded, Request], Awaitable[Response]]) -> Any:
    async def answer(request: Request) -> Response:
        embedded: Embedded = request.app.state.embedded
        try:
            return await route(embedded, request)
        except ClientDisconnect:
            return Response(status_code=_GONE)
        except TrimtabError as error:
            return refused(error)
        except Exception as error:
            logging.getLogger(__name__).exception("request %.80r failed", record_of(request.scope).id)
            return refused(
                RefusedError(
                    f"the request failed ({type(error).__name__}); the server's log says why",
                    reason="failed",
                    status=500,
                )
            )

    answer.__name__ = route.__name__.strip("_")
    answer.__doc__ = route.__doc__
    return answer


def refused(error: TrimtabError) -> Response:
    """The answer to what cannot be had, in OpenAI's shape."""
    refusal = error if isinstance(error, RefusedError) else RefusedError(error, reason="unsuitable")
    headers = {"retry-after": str(refusal.retry_after)} if isinstance(refusal, BusyError) else {}
    # In ASCII: text of a client may have characters that UTF-8 cannot write.
    content = json.dumps(refusal.to_dict())
    return Response(content, refusal.status, headers, media_type="application/json")


async def _chat(embedded: Embedded, request: Request) -> Response:
    """Answers a chat."""
    content = await json_of(request, request.body)
    body = read(ChatBody, content)
    return await _answered(embedded, request, body, embedded.preparing.chat, ChatShape)


async def _completion(embedded: Embedded, request: Request) -> Response:
    """Goes on with a text."""
    content = await json_of(request, request.body)
    body = read(CompletionBody, content)
    return await _answered(embedded, request, body, embedded.preparing.completion, CompletionShape)


async def _answered(
    embedded: Embedded,
    request: Request,
    body: Any,
    prepare: Callable[[Any], Prepared],
    shape: Callable[..., Shape],
) -> Response:
    _check_model(embedded, body)
    size = int(request.headers.get("content-length") or _QUICK)
    held = body.response_format is not None or body.structured_outputs is not None
    if held or size >= _QUICK:  # a grammar is compiled, or much is read: others need not wait for it
        prepared = await asyncio.to_thread(prepare, body)
    else:
        prepared = prepare(body)
    record = record_of(request.scope)
    record.prompt = prepared.prompt_tokens
    answers = Answers(embedded.runner, prepared.orders, prepared.composition, embedded.limits.seconds)
    shaped = shape(
        record.id, embedded.backend.name, embedded.engine.thoughts, tells_usage=body.includes_usage
    )
    answers.begin()
    if body.stream:
        return _Stream(answers, shaped, record, tells_usage=body.includes_usage)
    try:
        whole = await _unless_gone(request, _collected(answers, len(prepared.orders)))
    finally:
        answers.close()
        record.written = sum(answers.tokens)
        embedded.tokens.count(record)
    return Response(
        json.dumps(shaped.whole(whole, usage(record.prompt, record.written)), ensure_ascii=False).encode(
            "utf-8", "replace"
        ),
        media_type="application/json",
    )


def _check_model(embedded: Embedded, body: Body) -> None:
    if body.model is not None and body.model not in embedded.backend.served():
        raise RefusedError(
            f"the model {body.model!r:.100} does not exist; this server has {embedded.backend.name!r}",
            reason="unknown",
            status=404,
            parameter="model",
        )


async def _collected(answers: Answers, count: int) -> list[Part]:
    wholes = [Part(number) for number in range(count)]
    async for part in answers.parts():
        whole = wholes[part.number]
        whole.text += part.text
        whole.thought += part.thought
        whole.likely += part.likely
        whole.ended = part.ended
    return wholes


async def _unless_gone(request: Request, work: Any) -> Any:
    """What work comes to, given up if the client hangs up meanwhile.

    Raises:
        ClientDisconnect: It did.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Stream(StreamingResponse):
    """Server-sent events; whatever becomes of the client, its places are freed."""

    def __init__(self, answers: Answers, shape: Shape, record: Record, *, tells_usage: bool) -> None:
        self._answers = answers
        self._shape = shape
        self._record = record
        self._tells_usage = tells_usage
        super().__init__(
            self._events(), media_type="text/event-stream", headers={"cache-control": "no-cache"}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answers.close()
            self._record.written = sum(self._answers.tokens)
            scope["app"].state.embedded.tokens.count(self._record)

    async def _events(self) -> AsyncIterator[bytes]:
        for number in range(len(self._answers.tokens)):
            first = self._shape.first(number)
            if first is not None:
                yield _event(first)
        try:
            async for part in self._answers.parts():
                yield _event(self._shape.piece(part))
        except RefusedError as refusal:
            yield _event(refusal.to_dict())
        else:
            if self._tells_usage:
                used = usage(self._record.prompt, sum(self._answers.tokens))
                yield _event(self._shape.last(used))
        yield b"data: [DONE]\n\n"


def _event(content: Any) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"
