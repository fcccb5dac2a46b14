from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.page.conftest import served

from trimtab.errors import TrimtabError
from trimtab.page import style
from trimtab.page.guard import POLICY, Guard
from trimtab.page.opening import play
from trimtab.page.workplace import Workplace


async def _page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})


def client(key: str | None) -> Any:
    from starlette.testclient import TestClient

    return TestClient(Guard(_page, key), follow_redirects=False)


def test_without_a_key_all_pass_and_the_browser_is_told_the_policy() -> None:
    found = client(None).get("/")
    assert (found.status_code, found.text) == (200, "the page")
    assert found.headers["content-security-policy"] == POLICY
    assert "'self'" in POLICY
    assert "http" not in POLICY


def test_with_a_key_it_is_asked_for_until_it_is_given() -> None:
    browser = client("secret")
    refused = browser.get("/gradio_api/info")
    assert refused.status_code == 401
    assert 'type="password"' in refused.text
    wrong = browser.post("/login", data={"key": "other"})
    assert wrong.status_code == 403
    assert "not the key" in wrong.text
    assert browser.get("/").status_code == 401
    right = browser.post("/login", data={"key": "secret"})
    assert right.status_code == 303
    assert "HttpOnly" in right.headers["set-cookie"]
    assert "secret" not in right.headers["set-cookie"]
    assert browser.get("/").text == "the page"
    assert client("secret").get("/", headers={"Authorization": "Bearer secret"}).text == "the page"
    assert client("secret").get("/", headers={"Cookie": "trimtab-page=x"}).status_code == 401
    assert client("secret").post("/login", content=b"key=" + b"x" * 9000).status_code == 403


def test_nothing_that_the_page_is_made_of_names_another_machine() -> None:
    for name in ("style.css", "page.js", "picker.js", "login.html"):
        assert not re.search(r"(https?:)?//[a-z]", re.sub(r"/\*.*?\*/", "", style.source(name)))
    theme = style.theme()
    assert set(re.findall(r"https?://[^\s'\"]+", theme._get_theme_css())) <= {"http://www.w3.org/2000/svg"}
    assert theme._stylesheets == []


def test_the_page_with_a_key_is_served(workplace: Workplace) -> None:
    import httpx

    with served(workplace, key="secret") as url:
        assert httpx.get(url).status_code == 401
        assert "gradio_config" in httpx.get(url, headers={"Authorization": "Bearer secret"}).text


def never() -> Any:
    raise AssertionError("the model is loaded")


def test_other_machines_need_a_key_and_a_port_must_be_free() -> None:
    import socket

    with pytest.raises(TrimtabError, match=r"open to everybody who reaches 0\.0\.0\.0"):
        play(never, host="0.0.0.0", browser=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TrimtabError, match=f"cannot listen on 127.0.0.1, port {port}"):
            play(never, port=port, browser=False)


def test_a_model_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from trimtab.cli.app import app

    found = CliRunner().invoke(app, ["play", str(tmp_path / "none"), "--port", "0", "--no-browser"])
    assert found.exit_code == 2
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
