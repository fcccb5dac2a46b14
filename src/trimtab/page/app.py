"""The page: its tabs, put together with Gradio, and mounted on a server's address."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from trimtab.errors import ModelError, SteeringError
from trimtab.page import style
from trimtab.page.guard import Guard

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response
    from gradio import Blocks

    from trimtab.page.workplace import Workplace


def check_installed() -> None:
    """Make sure that Gradio is there, and that it asks no other machine for anything.

    Raises:
        ModelError: It is not; the message names the extra.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ModelError(f"the page needs Gradio ({error}): pip install 'trimtab[page]'") from None


def build(workplace: Workplace, *, key: bool = False) -> Blocks:
    """The page over a model and its steerings; `key` says whether its server asks for an API key."""
    check_installed()
    import gradio as gr

    from trimtab.page.tabs.ask import AskTab
    from trimtab.page.tabs.combine import CombineTab
    from trimtab.page.tabs.look import LookTab
    from trimtab.page.tabs.teach import TeachTab

    blocks: Blocks
    with gr.Blocks(title=f"trimtab: {workplace.name}", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(_head(workplace), elem_classes="tt-top")
        with gr.Tabs(elem_id="tt-tabs") as tabs:
            asking = AskTab(workplace, key=key)
            asking.add(blocks, tabs)
            TeachTab(workplace, asking).add(blocks, tabs)
            LookTab(workplace, asking).add()
            CombineTab(workplace, asking).add(blocks)
        stream = gr.Button(visible="hidden", elem_id="tt-stream")  # pressed by stream.js
        stream.click(lambda: None, show_progress="hidden", trigger_mode="multiple", api_visibility="private")
    return blocks


def mount(app: FastAPI, workplace: Workplace, path: str = "/", *, key: bool = False) -> None:
    """Mounts the page on an app, behind everything that is routed there already.

    Args:
        app: What serves it.
        workplace: The model and its steerings.
        path: Where the page is.
        key: Whether the server asks for an API key, which browsers then ask their user for.

    Raises:
        ModelError: Gradio is not installed.
    """
    check_installed()
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # Gradio would then make some, and leave them behind
        inner = asyncio.run(_coroutine(workplace, key))
    else:
        inner = _app(workplace, key)
    outer = app.router.lifespan_context

    @asynccontextmanager
    async def both(app: FastAPI) -> AsyncIterator[Any]:
        # What is mounted has a lifespan that nobody else runs: the queue of Gradio begins in it.
        async with outer(app) as state, inner.router.lifespan_context(inner):
            yield state

    app.router.lifespan_context = both
    app.mount(path, Guard(inner))


async def _coroutine(workplace: Workplace, key: bool) -> FastAPI:
    return _app(workplace, key)


def _app(workplace: Workplace, key: bool) -> FastAPI:
    import gradio as gr
    from fastapi import FastAPI

    blocks = build(workplace, key=key)
    blocks.queue(default_concurrency_limit=8)
    app = FastAPI(openapi_url=None)
    app.add_route("/download", partial(_download, workplace))
    gr.mount_gradio_app(
        app,
        blocks,
        "/",
        theme=style.theme(),
        css=style.style(),
        head=style.head(),
        footer_links=[],
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        show_error=True,
    )
    return app


def _download(workplace: Workplace, request: Request) -> Response:
    """A zip file with the steerings that the address names."""
    from fastapi import Response

    names = request.query_params.getlist("name")
    try:
        content = workplace.zipped(names)
    except SteeringError as error:
        return Response(str(error), 404, media_type="text/plain")
    file = f"{'+'.join(names)[:80]}.zip"
    return Response(
        content,
        media_type="application/zip",
        headers={"content-disposition": f'attachment; filename="{quote(file)}"'},
    )


def _head(workplace: Workplace) -> str:
    return (
        '<header class="tt-head"><h1>trimtab</h1><p>Steer a model from inside, and see what it changes.</p>'
        f'<span class="tt-chip" title="The model">{escape(workplace.name)}</span>'
        '<button type="button" data-theme aria-label="Switch colours"></button></header>'
    )
