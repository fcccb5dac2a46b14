"""The application of the embedded server: OpenAI's routes, those about steerings, health and metrics, what is mounted.

    app = build_app(Embedded(trimtab.load("nano"), steerings=Path("steerings")))
    uvicorn.run(app)

A page can be put beside the API, in the same process: give its ASGI application in `mounts`, or mount it on what
`build_app` returns, as `gradio.mount_gradio_app(app, blocks, path="/")` does; the routes of the API come first. What
the page needs is `app.state.embedded`, an `Embedded`: `async for part in embedded.answer(prompt, steering=...)`
answers in the running batch, `embedded.serving` has the steerings, and adds what was just learned by

    entry = await asyncio.to_thread(embedded.serving.apart().add, name, steering)
    await embedded.serving.load(entry, replace=True)

Where the server has an API key, a browser that opens the page is asked for it (HTTP Basic, any user name), and sends it
with all that the page asks for.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from trimtab._version import __version__
from trimtab.serve.middleware import HEADER
from trimtab.serve.refusal import RefusedError
from trimtab.serve.routes import attach
from trimtab.server.asking import add_routes, refused
from trimtab.server.embedded import Embedded
from trimtab.server.front import Front


def build_app(embedded: Embedded, *, mounts: Mapping[str, Any] | None = None) -> FastAPI:
    """An application that serves one model; its lifespan runs the batch.

    Args:
        embedded: What answers.
        mounts: Further ASGI applications by path, such as a page at `"/"`; the routes of the API come first.

    Returns:
        The application, whose `state.embedded` is the `Embedded`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await embedded.start()
        try:
            yield
        finally:
            await embedded.stop()

    app = FastAPI(
        title="trimtab",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.embedded = embedded
    app.state.trimtab = embedded.serving
    add_routes(app)
    app.add_api_route("/health", _health, methods=["GET"])
    app.add_api_route("/metrics", _metrics, methods=["GET"])
    app.add_exception_handler(HTTPException, _not_there)
    if embedded.origins:
        from fastapi.middleware.cors import CORSMiddleware

        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(embedded.origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=[HEADER, "x-request-id"],
        )
    app.add_middleware(Front, key=embedded.key, limits=embedded.limits, log=embedded.log)
    attach(app, embedded.limits.body_bytes)
    for path, mounted in (mounts or {}).items():
        app.mount(path, mounted)
    return app


async def _health(request: Request) -> Response:
    """Whether the model can be asked: 200 if so, 503 while the server ends."""
    ends = getattr(request.app.state, "ends", False)
    content = {"status": "ending" if ends else "ok", "model": request.app.state.embedded.backend.name}
    return Response(json.dumps(content), 503 if ends else 200, media_type="application/json")


async def _metrics(request: Request) -> Response:
    """What Prometheus reads."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    registry = request.app.state.embedded.registry
    return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})


async def _not_there(request: Request, error: Exception) -> Response:
    """The answer to a path, or a method, that is not served."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    interface = request.app.state.embedded.backend.interface
    path, served = request.url.path, ", ".join(sorted(interface.generating))
    message = (
        f"{path!r:.100} takes no {request.method}"
        if status == 405
        else f"there is no {path!r:.100} here; this server answers at {served} and has /v1/models, /v1/steerings, "
        "/health and /metrics (vLLM has more: --engine vllm)"
    )
    return refused(RefusedError(message, reason="elsewhere", status=status))
