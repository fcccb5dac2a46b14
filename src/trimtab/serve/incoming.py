"""What a request to the routes about steerings brings: its JSON, its form and files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from trimtab.files import json_value
from trimtab.serve.middleware import is_json
from trimtab.serve.refusal import RefusedError

_ROOM_FOR_FORM = 2**20  # what a form needs beside its files, and more than any JSON of these routes


async def json_of(request: Request, body: Callable[[], Awaitable[bytes]]) -> Any:
    """The JSON value that a request brings, whose body is read if it says that it is JSON."""
    if not is_json(request.scope):
        raise RefusedError(
            "the body must be JSON; send it with the header Content-Type: application/json",
            reason="malformed",
            status=415,
        )
    try:
        return json_value(await body())
    except ValueError as error:
        raise RefusedError(f"the body is not JSON ({error})", reason="malformed") from error


async def object_of(request: Request) -> dict[str, Any]:
    """The JSON object that a request brings."""
    content = await json_of(request, lambda: body_of(request, _ROOM_FOR_FORM))
    if not isinstance(content, dict):
        raise RefusedError("the body must be a JSON object", reason="malformed")
    return content


@asynccontextmanager
async def form_of(request: Request, most: int) -> AsyncIterator[FormData]:
    """The form that a request brings, its files of at most so many bytes together."""
    body = await body_of(request, most + _ROOM_FOR_FORM)

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        form = await Request(request.scope, receive).form(max_files=2, max_fields=8)
    except HTTPException as error:  # its parser's own
        raise RefusedError(
            f"the body is no form with files ({error.detail}); send it as multipart/form-data",
            reason="malformed",
        ) from error
    try:
        yield form
    finally:
        await form.close()


async def file_of(form: FormData, key: str) -> bytes:
    """The content of a file of a form."""
    part = form.get(key)
    if isinstance(part, UploadFile):
        content: bytes = await part.read()
        return content
    raise RefusedError(
        f"the form lacks the file '{key}'; send steering.json as 'document' and steering.safetensors as 'tensors'",
        reason="malformed",
        parameter=key,
    )


async def body_of(request: Request, most: int) -> bytes:
    """The body of a request, refused as soon as it has more bytes than it may."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large(most)
        parts.append(part)
    return b"".join(parts)


def too_large(most: int) -> RefusedError:
    """The refusal of what has more bytes than it may."""
    return RefusedError(
        f"what was sent is larger than {most // 2**20} MiB; make it smaller", reason="too_large", status=413
    )
