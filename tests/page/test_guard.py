from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from tests.page.conftest import served

from trimtab.page import style
from trimtab.page.guard import POLICY, Guard


async def _page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})


def client(app: Any = _page) -> Any:
    from starlette.testclient import TestClient

    return TestClient(Guard(app))


def test_the_browser_is_told_to_ask_no_other_machine() -> None:
    found = client().get("/")
    assert (found.status_code, found.text) == (200, "the page")
    assert found.headers["content-security-policy"] == POLICY
    assert "'self'" in POLICY
    assert "http" not in POLICY


def test_a_server_that_ends_hangs_up_on_open_pages() -> None:
    from types import SimpleNamespace

    state = SimpleNamespace(ends=False)
    heard: list[str] = []

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        scope["app"] = SimpleNamespace(state=SimpleNamespace())  # as one application inside another does
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])

    async def open_page() -> None:
        messages = iter([{"type": "http.request"}])

        async def receive() -> Any:
            message = next(messages, None)
            if message is None:
                state.ends = True
                await asyncio.Event().wait()  # the browser stays
            return message

        scope = {"type": "http", "path": "/", "app": SimpleNamespace(state=state)}
        await asyncio.wait_for(Guard(listening)(scope, receive, _nowhere), 30)

    asyncio.run(open_page())
    assert heard == ["http.request", "http.disconnect"]


async def _nowhere(message: Any) -> None:
    raise AssertionError(message)


@pytest.mark.parametrize("path", ["/v1", "/v1/nothing"])
def test_paths_of_the_api_are_left_to_the_server(path: str) -> None:
    with pytest.raises(HTTPException):
        client().get(path)
    assert client().get("/v1x").text == "the page"


def test_nothing_that_the_page_is_made_of_names_another_machine() -> None:
    for name in ("style.css", "page.js", "picker.js", "stream.js"):
        assert not re.search(r"(https?:)?//[a-z]", re.sub(r"/\*.*?\*/", "", style.source(name)))
    theme = style.theme()
    assert set(re.findall(r"https?://[^\s'\"]+", theme._get_theme_css())) <= {"http://www.w3.org/2000/svg"}
    assert theme._stylesheets == []


def test_a_server_with_a_key_asks_for_it_and_keeps_its_api(engines: Callable[[str], Any]) -> None:
    import httpx

    with served(engines("nano"), key="secret") as (url, _):
        refused = httpx.get(url)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        assert "gradio_config" in httpx.get(url, auth=("", "secret")).text
        assert httpx.get(f"{url}download?name=json").status_code == 401
        key = {"Authorization": "Bearer secret"}
        assert httpx.get(f"{url}download?name=json", headers=key).content.startswith(b"PK")
        assert httpx.get(f"{url}download?name=nothing", headers=key).status_code == 404
        missing = httpx.get(f"{url}v1/nothing", headers=key)
        assert missing.status_code == 404
        assert "this server answers at" in missing.json()["error"]["message"]
        body = {
            "model": "nano:lowercase",
            "messages": [{"role": "user", "content": "What is Blackwick?"}],
            "max_tokens": 12,
        }
        answer = httpx.post(f"{url}v1/chat/completions", json=body, headers=key, timeout=60).json()
        text = answer["choices"][0]["message"]["content"]
        assert text == text.lower()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "has no API key"),
        (["none-such-model-here", "--port", "8911"], "none-such-model-here"),
        (["--steerings", __file__, "--port", "8912"], "cannot make the folder"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(options: list[str], message: str) -> None:
    from typer.testing import CliRunner

    from trimtab.cli.app import app

    found = CliRunner().invoke(app, ["play", *options, "--no-browser"])
    assert found.exit_code == 2
    assert found.stderr.startswith("error: ")
    assert message in found.stderr
