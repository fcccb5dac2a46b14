"""The routes about steerings, as a plugin of vLLM's server (`vllm.endpoint_plugins`).

It also puts the middleware in, innermost: behind the check of the API key, so that only those who may use the server
learn what it holds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData, State, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from trimtab.engines.vllm.frontend import Frontend
from trimtab.engines.vllm.library import NAME, Entry
from trimtab.engines.vllm.requests import ask, canonical, resolve, split_model_name
from trimtab.errors import ModelError, SteeringError
from trimtab.serve.launch import UPLOAD, WORKER
from trimtab.serve.metrics import Metrics
from trimtab.serve.middleware import SteeringMiddleware
from trimtab.serve.refusal import RefusedError
from trimtab.serve.serving import Serving, unknown

_log = logging.getLogger("vllm.trimtab")

_ROOM_FOR_FORM = 2**20  # what a form needs beside its files, and more than any JSON of these routes

Route = Callable[[Request], Awaitable[Any]]


class SteeringEndpoints:
    """What vLLM asks of an endpoint plugin; named in `VLLM_PLUGINS` by `trimtab serve`."""

    name = "trimtab"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Add the routes, and the middleware inside of vLLM's own.

        Args:
            app: vLLM's server.
        """
        for method, path, route in _ROUTES:
            app.add_api_route(path, _answering(route), methods=[method], include_in_schema=True)
        # add_middleware would put it outside of what is there, and vLLM's check of the API key comes later still.
        app.user_middleware.append(Middleware(SteeringMiddleware))

    async def init_state(self, engine_client: Any, state: State, args: Namespace) -> None:
        """Reach the workers, and begin to serve.

        Args:
            engine_client: vLLM's `EngineClient`.
            state: Of the app.
            args: vLLM's command line.

        Raises:
            ModelError: Steering cannot be served this way; the message says why.
        """
        state.trimtab = None
        frontend = None if engine_client is None else Frontend.of(engine_client.input_processor)
        if frontend is None:
            return
        _check(engine_client.vllm_config, args)
        models = state.openai_serving_models

        async def call(method: str, *arguments: Any) -> Sequence[Sequence[Any]]:
            # collective_rpc asks every engine as well, and then gives the answers of the first alone.
            results: Sequence[Sequence[Any]] = await engine_client.engine_core.call_utility_all_async(
                "collective_rpc", method, None, arguments, None
            )
            return results

        serving = Serving(
            frontend.library,
            call,
            served=lambda: {*(path.name for path in models.base_model_paths), *models.lora_requests},
            running=lambda: list(engine_client.output_processor.request_states),
            metrics=Metrics(),
            may_change=os.environ.get(UPLOAD) == "1",
        )
        await serving.begin()
        state.trimtab = serving
        state.trimtab_folder = frontend.settings.steerings
        _log.info(
            "steering is on: %s; clients may %sload and unload",
            ", ".join(serving.library.names()) or "none loaded yet",
            "" if serving.may_change else "not ",
        )


def _check(vllm_config: Any, args: Namespace) -> None:
    parallel = vllm_config.parallel_config
    extension = parallel.worker_extension_cls
    if extension != WORKER:
        raise ModelError(
            f"steerings reach the workers by --worker-extension-cls {WORKER}, and it is {extension or 'not given'}; "
            "start with `trimtab serve`"
        )
    count = max(getattr(args, "api_server_count", None) or 1, getattr(parallel, "_api_process_count", 1))
    if count > 1:
        raise ModelError(
            f"there are {count} API server processes, and each would have steerings of its own; give "
            "--api-server-count 1"
        )


def _answering(route: Callable[[Serving, Request], Awaitable[Any]]) -> Route:
    """A route whose mistakes become answers in OpenAI's shape."""

    async def answer(request: Request) -> JSONResponse:
        try:
            serving = getattr(request.app.state, "trimtab", None)
            if serving is None:
                raise RefusedError(
                    "this server serves no steering; start it with `trimtab serve`", reason="off", status=404
                )
            return JSONResponse(await route(serving, request))
        except RefusedError as refusal:
            return JSONResponse(refusal.to_dict(), status_code=refusal.status)
        except SteeringError as error:
            return JSONResponse(RefusedError(error, reason="unsuitable").to_dict(), status_code=400)

    answer.__name__ = route.__name__.strip("_")
    answer.__doc__ = route.__doc__
    return answer


async def _list_steerings(serving: Serving, request: Request) -> Any:
    """The steerings that can be named."""
    return {"object": "list", "data": [_card(request, entry) for entry in serving.library.entries()]}


async def _get_steering(serving: Serving, request: Request) -> Any:
    """One steering, with its record."""
    entry = serving.entry(request.path_params["name"])
    record = entry.steering.record
    return {
        **_card(request, entry),
        "blocks": list(entry.steering.blocks),
        "settings": record.settings,
        "measurements": record.measurements,
        "description": entry.steering.describe(),
    }


async def _upload_steering(serving: Serving, request: Request) -> Any:
    """Load a steering from its two files, sent as a form: name, document, tensors, replace."""
    _check_permission(serving)
    most = serving.library.limit_bytes
    async with _form(request, most) as form:
        name, replace = form.get("name"), form.get("replace", "")
        if not isinstance(name, str):
            raise RefusedError(
                "the form lacks 'name'; give the steering one", reason="malformed", parameter="name"
            )
        document, tensors = await _file(form, "document"), await _file(form, "tensors")
    if len(document) + len(tensors) > most:
        raise _too_large(most)
    entry = await asyncio.to_thread(serving.apart().upload, name, document, tensors)
    replaces = str(replace).lower() in ("true", "1", "yes")
    return _card(request, await serving.load(entry, replace=replaces))


async def _load_steering(serving: Serving, request: Request) -> Any:
    """Load a steering of the Hub, or of the folder that the server was started with."""
    _check_permission(serving)
    asked = await _json(request)
    for key in ("hub", "folder", "revision", "name"):
        if not isinstance(asked.get(key), str | None):
            raise RefusedError(f"{key} must be text", reason="malformed", parameter=key)
    hub, folder = asked.get("hub"), asked.get("folder")
    name, apart = asked.get("name"), serving.apart()
    if hub is not None and folder is None:
        entry = await asyncio.to_thread(apart.load_hub, hub, asked.get("revision"), name=name)
    elif folder is not None and hub is None:
        path = _subfolder(request.app.state.trimtab_folder, folder)
        entry = await asyncio.to_thread(apart.load, name or folder, path)
    else:
        raise RefusedError(
            'give either "hub" (owner/name) or "folder" (the name of a subfolder of the server\'s)',
            reason="malformed",
        )
    return _card(request, await serving.load(entry, replace=asked.get("replace") is True))


async def _unload_steering(serving: Serving, request: Request) -> Any:
    """Unload a steering; requests that have it already are finished with it."""
    _check_permission(serving)
    entry = await serving.unload(request.path_params["name"])
    return {"object": "steering", "name": entry.name, "digest": entry.digest, "deleted": True}


async def _list_models(serving: Serving, request: Request) -> Any:
    """The models of vLLM, and each steering as a model of its own."""
    models = (await request.app.state.openai_serving_models.show_available_models()).model_dump()
    base = models["data"][0]
    models["data"] += [
        {**base, "id": f"{base['id']}:{entry.name}", "parent": base["id"], "root": entry.digest}
        for entry in serving.library.entries()
    ]
    return models


async def _get_model(serving: Serving, request: Request) -> Any:
    """One model; also compositions of steerings, which no list could name."""
    wanted = request.path_params["model"]
    models = (await request.app.state.openai_serving_models.show_available_models()).model_dump()
    by_name = {model["id"]: model for model in models["data"]}
    base, expression = split_model_name(wanted, by_name)
    if base not in by_name:
        raise RefusedError(
            f"the model {wanted!r:.100} does not exist", reason="unknown", status=404, parameter="model"
        )
    if expression is None:
        return by_name[base]
    try:
        asked = ask({"steering": expression})
        use = () if asked is None else resolve(asked, serving.library).use
    except SteeringError as error:
        raise RefusedError(error, reason="unknown", status=404, parameter="model") from error
    return {**by_name[base], "id": wanted, "parent": base, "root": canonical(use)}


def _card(request: Request, entry: Entry) -> dict[str, Any]:
    """What a list says of a steering."""
    base = request.app.state.openai_serving_models.base_model_paths[0].name
    record = entry.steering.record
    return {
        "object": "steering",
        "name": entry.name,
        "digest": entry.digest,
        "model": f"{base}:{entry.name}",
        "instructions": list(record.instructions),
        "method": record.method,
        "edits": len(entry.steering.edits),
        "gates": entry.gates_used,
        "bytes": entry.bytes,
    }


def _check_permission(serving: Serving) -> None:
    if not serving.may_change:
        raise RefusedError(
            "this server was started without --upload: its steerings are those it was started with",
            reason="not_allowed",
            status=403,
        )


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


async def _json(request: Request) -> dict[str, Any]:
    try:
        asked = json.loads(await _body(request, _ROOM_FOR_FORM))
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the body is not JSON ({error})", reason="malformed") from error
    if not isinstance(asked, dict):
        raise RefusedError("the body must be a JSON object", reason="malformed")
    return asked


@asynccontextmanager
async def _form(request: Request, most: int) -> AsyncIterator[FormData]:
    """The form that a request brings, its files of at most so many bytes together."""
    body = await _body(request, most + _ROOM_FOR_FORM)

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


async def _file(form: FormData, key: str) -> bytes:
    part = form.get(key)
    if isinstance(part, UploadFile):
        content: bytes = await part.read()
        return content
    raise RefusedError(
        f"the form lacks the file '{key}'; send steering.json as 'document' and steering.safetensors as 'tensors'",
        reason="malformed",
        parameter=key,
    )


async def _body(request: Request, most: int) -> bytes:
    """The body of a request, refused as soon as it has more bytes than it may."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
    return b"".join(parts)


def _too_large(most: int) -> RefusedError:
    return RefusedError(
        f"what was sent is larger than {most // 2**20} MiB; make it smaller", reason="too_large", status=413
    )


_ROUTES = (
    ("GET", "/v1/steerings", _list_steerings),
    ("GET", "/v1/steerings/{name}", _get_steering),
    ("POST", "/v1/steerings", _upload_steering),
    ("POST", "/v1/steerings/load", _load_steering),
    ("DELETE", "/v1/steerings/{name}", _unload_steering),
    ("GET", "/v1/models", _list_models),
    ("GET", "/v1/models/{model:path}", _get_model),
)
