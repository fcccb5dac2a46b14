"""The routes about steerings, on an application of FastAPI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from tests.serve.fakes import Engines, library, serving, steering

from trimtab import Steering
from trimtab.serve.routes import attach
from trimtab.steering.record import ModelIdentity

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the client that comes with fastapi


class Server:
    """An app with the routes, and what it is made of."""

    def __init__(self, folder: Path | None = None, **steerings: Steering) -> None:
        self.engines = Engines()
        self.library = library(**steerings)
        self.serving = serving(self.library, self.engines, folder=None if folder is None else str(folder))
        self.app = FastAPI()
        self.bodies: list[Any] = []

        @self.app.post("/v1/chat/completions")
        async def chat(request: Request) -> Any:
            self.bodies.append(await request.json())
            return {}

        attach(self.app)
        self.app.state.trimtab = self.serving


@pytest.fixture
def client(tmp_path: Path) -> Any:
    steering(0).save(tmp_path / "json")
    steering(7).save(tmp_path / "later")
    server = Server(tmp_path, json=steering(0))
    with TestClient(server.app) as made:
        made.portal.call(server.serving.begin)
        made.server = server
        yield made


def files(folder: Path) -> dict[str, bytes]:
    return {
        "document": (folder / "steering.json").read_bytes(),
        "tensors": (folder / "steering.safetensors").read_bytes(),
    }


def saved(tmp_path: Path, one: Steering) -> dict[str, bytes]:
    return files(one.save(tmp_path / "elsewhere" / one.digest()[-8:]))


def test_listing_and_looking_at_one(client: Any) -> None:
    (card,) = client.get("/v1/steerings").json()["data"]
    assert card["name"] == "json"
    assert card["digest"] == steering(0).digest()
    assert card["model"] == "tiny:json"
    assert (card["edits"], card["gates"], card["bytes"]) == (2, 1, 3 * 8 * 4)
    one = client.get("/v1/steerings/json").json()
    assert one["blocks"] == [0, 1]
    assert client.get(f"/v1/steerings/{card['digest']}").json() == one
    missing = client.get("/v1/steerings/nope")
    assert missing.status_code == 404
    assert missing.json()["error"]["type"] == "NotFoundError"


def test_upload_use_unload(client: Any, tmp_path: Path) -> None:
    sent = client.post("/v1/steerings", data={"name": "new"}, files=saved(tmp_path, steering(5)))
    assert sent.status_code == 200
    assert sent.json()["digest"] == steering(5).digest()
    assert all(steering(5).digest() in worker.held for worker in client.server.engines.all)
    assert client.post("/v1/chat/completions", json={"model": "tiny:new"}).status_code == 200
    assert steering(5).digest() in client.server.bodies[0]["vllm_xargs"]["steering"]
    gone = client.delete("/v1/steerings/new")
    assert gone.json() == {
        "object": "steering",
        "name": "new",
        "digest": steering(5).digest(),
        "deleted": True,
    }
    assert client.post("/v1/chat/completions", json={"model": "tiny:new"}).status_code == 400
    assert client.delete("/v1/steerings/new").status_code == 404


def test_a_name_that_is_taken(client: Any, tmp_path: Path) -> None:
    def send(**more: str) -> Any:
        return client.post("/v1/steerings", data={"name": "json", **more}, files=saved(tmp_path, steering(5)))

    assert send().status_code == 409
    assert client.get("/v1/steerings/json").json()["digest"] == steering(0).digest()
    assert send(replace="true").json()["digest"] == steering(5).digest()
    assert send().status_code == 200  # the same again


def damaged(tmp_path: Path) -> dict[str, tuple[dict[str, str], dict[str, bytes], int, str]]:
    good = saved(tmp_path, steering(5))
    other = ModelIdentity("other", None, "llama", 4, 8, "plain")
    name = {"name": "new"}
    return {
        "no name": ({}, good, 400, "lacks 'name'"),
        "bad name": ({"name": "a/b"}, good, 400, "cannot be the name"),
        "a file is missing": (name, {"document": good["document"]}, 400, "lacks the file 'tensors'"),
        "cut off": (name, {**good, "tensors": good["tensors"][:-9]}, 400, "damaged"),
        "changed": (name, {**good, "document": good["document"].replace(b"0.5", b"0.6")}, 400, "changed"),
        "not JSON": (name, {**good, "document": b"{"}, 400, "not valid JSON"),
        "another model": (name, saved(tmp_path, steering(5, identity=other)), 400, "is for other"),
        "too many gates": (name, saved(tmp_path, steering(5, gated=3)), 400, "3 gated edits"),
        "too large": (name, {**good, "tensors": b"x" * (66 * 2**20)}, 413, "65 MiB"),
        "a little too large": (name, {**good, "tensors": b"x" * (64 * 2**20)}, 413, "64 MiB"),
    }


def test_what_cannot_be_served_is_refused_in_a_sentence(client: Any, tmp_path: Path) -> None:
    for what, (data, content, status, says) in damaged(tmp_path).items():
        answer = client.post("/v1/steerings", data=data, files=content)
        message = answer.json()["error"]["message"]
        assert (answer.status_code, says in message) == (status, True), (what, message)
        assert str(tmp_path) not in message
        assert "\n" not in message
    assert client.get("/v1/steerings").json()["data"][1:] == []
    assert all(set(worker.held) == {steering(0).digest()} for worker in client.server.engines.all)


def test_a_form_that_is_none(client: Any) -> None:
    for content, kind in (
        (b"{}", "application/json"),
        (b"--x", "multipart/form-data; boundary=y"),
        (b"", None),
    ):
        headers = {} if kind is None else {"content-type": kind}
        assert client.post("/v1/steerings", content=content, headers=headers).status_code == 400


def test_loading_from_the_servers_folder(client: Any) -> None:
    answer = client.post("/v1/steerings/load", json={"folder": "later"})
    assert (answer.status_code, answer.json()["name"]) == (200, "later")
    answer = client.post("/v1/steerings/load", json={"folder": "later", "name": "again"})
    assert answer.json()["digest"] == steering(7).digest()
    assert client.post("/v1/steerings/load", json={"folder": "later", "name": "json"}).status_code == 409


@pytest.mark.parametrize(
    "name", ["..", ".", "", "/", "../x", "later/../json", "/etc", "nope", "later/.", "x" * 5000]
)
def test_no_other_place_than_the_folder(client: Any, name: str) -> None:
    answer = client.post("/v1/steerings/load", json={"folder": name})
    assert answer.status_code == 404, answer.text
    assert client.get("/v1/steerings").json()["data"][1:] == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"hub": "a/b", "folder": "x"}', b'{"folder": 3}', b'{"hub": null}']
)
def test_a_load_that_makes_no_sense(client: Any, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    assert client.post("/v1/steerings/load", content=body, headers=headers).status_code == 400


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_load_is_json_and_says_so(client: Any, kind: str | None) -> None:
    """What is not is what a page may send to any server without asking it."""
    headers = {} if kind is None else {"content-type": kind}
    answer = client.post("/v1/steerings/load", content=b'{"folder": "later"}', headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize("hub", ["\ud800/x", "a/\ud800", "\ud800"])
def test_text_that_cannot_be_written_is_refused_like_any_other(client: Any, hub: str) -> None:
    for body in ({"hub": hub}, {"hub": hub, "name": "x"}, {"folder": hub}, {"folder": "later", "name": hub}):
        content, headers = json.dumps(body).encode(), {"content-type": "application/json"}
        answer = client.post("/v1/steerings/load", content=content, headers=headers)
        assert answer.status_code in (400, 404), answer.text
        assert "\\ud800" in answer.json()["error"]["message"]


FOREIGN: list[dict[str, str]] = [
    {"origin": "https://elsewhere.example"},
    {"origin": "http://testserver:9"},
    {"origin": "http://localhost"},
    {"origin": "null"},
    {"origin": "http://["},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://evil.example", "host": "evil.example"},  # a name that its owner made lead here
]
OWN: list[dict[str, str]] = [
    {},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
    {"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"},
    {"origin": "http://localhost:8000", "host": "localhost:8000"},
    {"origin": "http://[::1]:8000", "host": "[::1]:8000"},
    {"origin": "https://mine.example"},
]


def test_pages_of_other_sites_change_nothing(client: Any, tmp_path: Path) -> None:
    client.server.serving.origins = frozenset({"https://mine.example"})
    content = saved(tmp_path, steering(5))
    for number, headers in enumerate(FOREIGN):
        form = {"name": "json", "replace": "true"}
        for answer in (
            client.post("/v1/steerings", data=form, files=content, headers=headers),
            client.post("/v1/steerings/load", json={"folder": "later"}, headers=headers),
            client.delete("/v1/steerings/json", headers=headers),
        ):
            assert (number, answer.status_code) == (number, 403)
            assert "another site" in answer.json()["error"]["message"]
        assert [card["digest"] for card in client.get("/v1/steerings", headers=headers).json()["data"]] == [
            steering(0).digest()
        ]
    for headers in OWN:
        assert client.post("/v1/steerings/load", json={"folder": "later"}, headers=headers).status_code == 200
    client.server.serving.has_key = True  # who has the key is no page that was led here
    headers = {"origin": "http://evil.example", "host": "evil.example"}
    assert client.post("/v1/steerings/load", json={"folder": "later"}, headers=headers).status_code == 200


def test_the_hub_is_asked_for_what_was_named(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_hub(self: Any, repo: str, revision: str | None = None, *, name: str | None = None) -> Any:
        asked.append((repo, revision, name))
        return self.add(name, steering(7))

    monkeypatch.setattr(type(client.server.library), "load_hub", load_hub)
    answer = client.post("/v1/steerings/load", json={"hub": "a/b", "revision": "v1", "name": "mine"})
    assert (asked, answer.json()["name"]) == ([("a/b", "v1", "mine")], "mine")


def test_without_permission_only_reading(client: Any, tmp_path: Path) -> None:
    client.server.serving.may_change = False
    for answer in (
        client.post("/v1/steerings", data={"name": "new"}, files=saved(tmp_path, steering(5))),
        client.post("/v1/steerings/load", json={"folder": "later"}),
        client.delete("/v1/steerings/json"),
    ):
        assert answer.status_code == 403
        assert "--upload" in answer.json()["error"]["message"]
    assert client.get("/v1/steerings").status_code == 200


def test_models_are_listed_with_their_steerings(client: Any) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["tiny", "tiny:json"]
    assert (listed[1]["parent"], listed[1]["root"]) == ("tiny", steering(0).digest())
    assert client.get("/v1/models/tiny").json() == listed[0]
    assert client.get("/v1/models/tiny:json*0.5").json()["parent"] == "tiny"
    composed = client.get("/v1/models/tiny:json*0.5").json()
    assert (composed["id"], composed["root"]) == ("tiny:json*0.5", steering(0).digest() + "*0.5")
    assert client.get("/v1/models/tiny:json").json()["root"] == steering(0).digest()
    for name in ("nope", "tiny:nope", "tiny:json*"):
        assert client.get(f"/v1/models/{name}").status_code == 404
    client.server.library.add("json", steering(7))
    assert client.get(f"/v1/models/tiny:{steering(0).digest()}").status_code == 404  # on its way out


def test_what_runs_in_the_background_ends_with_the_server() -> None:
    server = Server(json=steering(0))

    with TestClient(server.app) as made:
        made.portal.call(server.serving.begin)
        (task,) = server.serving._tasks
        assert not task.done()
    assert task.cancelled()


def test_an_application_without_steering_says_so() -> None:
    server = Server()
    server.app.state.trimtab = None
    answer = TestClient(server.app).get("/v1/steerings")
    assert answer.status_code == 404
    assert "trimtab serve" in answer.json()["error"]["message"]
