"""The routes about steerings, `/v1/steerings` and `/v1/models`, for any server that is a FastAPI application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.middleware import Middleware

from trimtab.errors import SteeringError
from trimtab.serve.composition import expression
from trimtab.serve.incoming import file_of, form_of, object_of, too_large
from trimtab.serve.library import NAME, Entry
from trimtab.serve.middleware import MOST_BYTES, SteeringMiddleware
from trimtab.serve.permission import check_permission
from trimtab.serve.refusal import RefusedError
from trimtab.serve.request import parse_request
from trimtab.serve.resolving import resolve, split_model_name
from trimtab.serve.serving import Serving, unknown

Route = Callable[[Request], Awaitable[Any]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def attach(app: FastAPI, most_bytes: int = MOST_BYTES) -> None:
    """Add the routes, and the middleware innermost: behind the server's check of an API key.

    Requests to the server's own routes may have `most_bytes`.

    The application serves steerings from when its `state.trimtab` is a `Serving` that has begun.
    """
    for method, path, route in _ROUTES:
        app.add_api_route(path, _answering(route), methods=[method], include_in_schema=True)
    # add_middleware would put it outside of what is there, and a check of the API key may come later still.
    app.user_middleware.append(Middleware(SteeringMiddleware, most_bytes=most_bytes))
    app.router.lifespan_context = _ending(app.router.lifespan_context)


def _ending(lifespan: Lifespan) -> Lifespan:
    """The lifespan of an app, at whose end what steering runs in the background is stopped."""

    @asynccontextmanager
    async def ending(app: FastAPI) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            try:
                yield state
            finally:
                serving = getattr(app.state, "trimtab", None)
                if serving is not None:
                    await serving.end()

    return ending


def _answering(route: Callable[[Serving, Request], Awaitable[Any]]) -> Route:
    """A route whose mistakes become answers in OpenAI's shape."""

    async def answer(request: Request) -> Response:
        try:
            serving = getattr(request.app.state, "trimtab", None)
            if serving is None:
                raise RefusedError(
                    "this server serves no steering; start it with `trimtab serve`", reason="off", status=404
                )
            return _json_answer(await route(serving, request))
        except RefusedError as refusal:
            return _json_answer(refusal.to_dict(), refusal.status)
        except SteeringError as error:
            return _json_answer(RefusedError(error, reason="unsuitable").to_dict(), 400)

    answer.__name__ = route.__name__.strip("_")
    answer.__doc__ = route.__doc__
    return answer


def _json_answer(content: Any, status: int = 200) -> Response:
    # In ASCII: text of a client may have characters that UTF-8 cannot write.
    return Response(json.dumps(content), status, media_type="application/json")


async def _list_steerings(serving: Serving, request: Request) -> Any:
    """The steerings that can be named."""
    return {"object": "list", "data": [_card(serving, entry) for entry in serving.library.entries()]}


async def _get_steering(serving: Serving, request: Request) -> Any:
    """One steering, with its record."""
    entry = serving.entry(request.path_params["name"])
    record = entry.steering.record
    return {
        **_card(serving, entry),
        "blocks": list(entry.steering.blocks),
        "settings": record.settings,
        "measurements": record.measurements,
        "description": entry.steering.describe(),
    }


async def _upload_steering(serving: Serving, request: Request) -> Any:
    """Load a steering from its two files, sent as a form: name, document, tensors, replace."""
    check_permission(serving, request)
    most = serving.library.limit_bytes
    async with form_of(request, most) as form:
        name, replace = form.get("name"), form.get("replace", "")
        if not isinstance(name, str):
            raise RefusedError(
                "the form lacks 'name'; give the steering one", reason="malformed", parameter="name"
            )
        document, tensors = await file_of(form, "document"), await file_of(form, "tensors")
    if len(document) + len(tensors) > most:
        raise too_large(most)
    entry = await asyncio.to_thread(serving.apart().upload, name, document, tensors)
    replaces = str(replace).lower() in ("true", "1", "yes")
    return _card(serving, await serving.load(entry, replace=replaces))


async def _load_steering(serving: Serving, request: Request) -> Any:
    """Load a steering of the Hub, or of the folder that the server was started with."""
    check_permission(serving, request)
    content = await object_of(request)
    for key in ("hub", "folder", "revision", "name"):
        if not isinstance(content.get(key), str | None):
            raise RefusedError(f"{key} must be text", reason="malformed", parameter=key)
    hub, folder = content.get("hub"), content.get("folder")
    name, apart = content.get("name"), serving.apart()
    if hub is not None and folder is None:
        entry = await asyncio.to_thread(apart.load_hub, hub, content.get("revision"), name=name)
    elif folder is not None and hub is None:
        path = _subfolder(serving.folder, folder)
        entry = await asyncio.to_thread(apart.load, name or folder, path)
    else:
        raise RefusedError(
            'give either "hub" (owner/name) or "folder" (the name of a subfolder of the server\'s)',
            reason="malformed",
        )
    return _card(serving, await serving.load(entry, replace=content.get("replace") is True))


async def _unload_steering(serving: Serving, request: Request) -> Any:
    """Unload a steering; requests that have it already are finished with it."""
    check_permission(serving, request)
    entry = await serving.unload(request.path_params["name"])
    return {"object": "steering", "name": entry.name, "digest": entry.digest, "deleted": True}


async def _list_models(serving: Serving, request: Request) -> Any:
    """The models of the server, and each steering as a model of its own."""
    models = await serving.backend.models()
    base = models["data"][0]
    models["data"] += [
        {**base, "id": f"{base['id']}:{entry.name}", "parent": base["id"], "root": entry.digest}
        for entry in serving.library.entries()
    ]
    return models


async def _get_model(serving: Serving, request: Request) -> Any:
    """One model; also compositions of steerings, which no list could name."""
    name = request.path_params["model"]
    by_name = {model["id"]: model for model in (await serving.backend.models())["data"]}
    base, steering = split_model_name(name, by_name)
    if base not in by_name:
        raise RefusedError(
            f"the model {name!r:.100} does not exist", reason="unknown", status=404, parameter="model"
        )
    if steering is None:
        return by_name[base]
    try:
        composition = resolve(parse_request(steering), serving.library, named=True).composition
    except SteeringError as error:
        raise RefusedError(error, reason="unknown", status=404, parameter="model") from error
    return {**by_name[base], "id": name, "parent": base, "root": expression(composition)}


def _card(serving: Serving, entry: Entry) -> dict[str, Any]:
    """What a list says of a steering."""
    record = entry.steering.record
    return {
        "object": "steering",
        "name": entry.name,
        "digest": entry.digest,
        "model": f"{serving.backend.name}:{entry.name}",
        "instructions": list(record.instructions),
        "method": record.method,
        "edits": len(entry.steering.edits),
        "gates": entry.gates_used,
        "bytes": entry.bytes,
    }


def _subfolder(folder: str | None, name: str) -> Path:
    """A subfolder of the server's folder, and no other place: clients choose the name."""
    if folder is None:
        raise RefusedError(
            "this server was started without --steerings; upload it instead", reason="unknown", status=404
        )
    path = Path(folder).expanduser() / name
    if NAME.fullmatch(name) is None or not path.is_dir():
        raise unknown(f"the server's folder of steerings has no {name!r:.100}")
    return path


_ROUTES = (
    ("GET", "/v1/steerings", _list_steerings),
    ("GET", "/v1/steerings/{name}", _get_steering),
    ("POST", "/v1/steerings", _upload_steering),
    ("POST", "/v1/steerings/load", _load_steering),
    ("DELETE", "/v1/steerings/{name}", _unload_steering),
    ("GET", "/v1/models", _list_models),
    ("GET", "/v1/models/{model:path}", _get_model),
)
