"""The routes about steerings, as a plugin of vLLM's server (`vllm.endpoint_plugins`).

It also puts the middleware in, innermost: behind the check of the API key where vLLM has one. There are paths without
(`/tokenize`, `/invocations`); the middleware tells no names there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.datastructures import State
from starlette.middleware import Middleware

from trimtab.errors import ModelError, SteeringError
from trimtab.serve.choosing import expression
from trimtab.serve.incoming import (
    check_permission,
    file_of,
    form_of,
    json_of,
    too_large,
)
from trimtab.serve.library import NAME, Entry
from trimtab.serve.metrics import Metrics
from trimtab.serve.middleware import SteeringMiddleware
from trimtab.serve.refusal import RefusedError
from trimtab.serve.resolving import ask, resolve, split_model_name
from trimtab.serve.serving import Serving, unknown
from trimtab.vllm import WORKER
from trimtab.vllm.frontend.frontend import Frontend
from trimtab.vllm.server.launch import AUTO, UPLOAD, may_change
from trimtab.vllm.server.options import check_environment

_log = logging.getLogger("vllm.trimtab")

Route = Callable[[Request], Awaitable[Any]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


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
        app.router.lifespan_context = _ending(app.router.lifespan_context)

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
            if engine_client is not None and UPLOAD in os.environ:
                raise ModelError(
                    "vLLM has no steering in its --additional-config: an option that `trimtab serve` was given took it "
                    "out; leave that option out"
                )
            return
        _check(engine_client.vllm_config, args)
        models = state.openai_serving_models

        async def call(method: str, *arguments: Any) -> Sequence[Sequence[Any]]:
            # collective_rpc asks every engine as well, and then gives the answers of the first alone.
            results: Sequence[Sequence[Any]] = await engine_client.engine_core.call_utility_all_async(
                "collective_rpc", method, None, arguments, None
            )
            return results

        # As vLLM reads them: with an empty key it asks for none.
        has_key = any(getattr(args, "api_key", None) or [os.environ.get("VLLM_API_KEY")])
        serving = Serving(
            frontend.library,
            call,
            served=lambda: {*(path.name for path in models.base_model_paths), *models.lora_requests},
            running=lambda: list(engine_client.output_processor.request_states),
            metrics=Metrics(),
            may_change=_may_change(args, has_key),
            has_key=has_key,
            origins=set(getattr(args, "allowed_origins", ())) - {"*"},
        )
        await serving.begin()
        state.trimtab = serving
        state.trimtab_folder = frontend.settings.steerings
        _log.info(
            "steering is on: %s; clients may %sload and unload",
            ", ".join(serving.library.names()) or "none loaded yet",
            "" if serving.may_change else "not ",
        )


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


def _may_change(args: Namespace, has_key: bool) -> bool:
    """Whether clients may load and unload, by what vLLM made of its command line."""
    said = os.environ.get(UPLOAD)
    if said != AUTO:
        return said == "1"
    return may_change(getattr(args, "host", None), has_key=has_key, uds=getattr(args, "uds", None))


def _check(vllm_config: Any, args: Namespace) -> None:
    check_environment(os.environ)
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
    return _card(request, await serving.load(entry, replace=replaces))


async def _load_steering(serving: Serving, request: Request) -> Any:
    """Load a steering of the Hub, or of the folder that the server was started with."""
    check_permission(serving, request)
    asked = await json_of(request)
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
    check_permission(serving, request)
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
    base, said = split_model_name(wanted, by_name)
    if base not in by_name:
        raise RefusedError(
            f"the model {wanted!r:.100} does not exist", reason="unknown", status=404, parameter="model"
        )
    if said is None:
        return by_name[base]
    try:
        asked = ask({"steering": said})
        use = () if asked is None else resolve(asked, serving.library, named=True).use
    except SteeringError as error:
        raise RefusedError(error, reason="unknown", status=404, parameter="model") from error
    return {**by_name[base], "id": wanted, "parent": base, "root": expression(use)}


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
