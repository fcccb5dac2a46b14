"""The plugin on an app as vLLM builds it: what it needs of vLLM, and when a server does not start."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi")

import prometheus_client
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from tests.serve.fakes import Engines, library, steering

from trimtab import Steering
from trimtab.errors import ModelError, TrimtabError
from trimtab.serve.metrics import Metrics
from trimtab.vllm import WORKER
from trimtab.vllm.packing import unpack_edits
from trimtab.vllm.server import endpoints
from trimtab.vllm.server.endpoints import SteeringEndpoints

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the client that comes with fastapi


class Server:
    """An app with the plugin, and what it is made of."""

    def __init__(self, folder: Path | None = None, upload: str = "1", **steerings: Steering) -> None:
        self.engines = Engines()
        self.library = library(**steerings)
        self.app = FastAPI()
        self.app.state.openai_serving_models = Models()
        self.config = SimpleNamespace(parallel_config=SimpleNamespace(worker_extension_cls=WORKER))
        frontend = SimpleNamespace(
            library=self.library, settings=SimpleNamespace(steerings=None if folder is None else str(folder))
        )

        async def utility(name: str, method: str, timeout: None, arguments: Any, keywords: None) -> Any:
            assert name == "collective_rpc"
            method = method.removeprefix("trimtab_")
            if method == "hold":
                arguments = (arguments[0], unpack_edits(arguments[1]))
            return await self.engines.call(method, *arguments)

        self.engine_client = SimpleNamespace(
            input_processor=SimpleNamespace(trimtab=frontend),
            vllm_config=self.config,
            engine_core=SimpleNamespace(call_utility_all_async=utility),
            output_processor=SimpleNamespace(request_states={}),
        )
        self.plugin = SteeringEndpoints()
        self.bodies: list[Any] = []

        @self.app.post("/v1/chat/completions")
        async def chat(request: Request) -> Any:
            self.bodies.append(await request.json())
            return {}

        @self.app.get("/v1/models")
        async def models() -> Any:
            raise AssertionError("vLLM puts a plugin's route in the place of its own")

        own = [route for route in self.app.routes if getattr(route, "path", "") != "/v1/models"]
        self.app.router.routes[:] = own
        self.plugin.attach_router(self.app)

    async def begin(self, **arguments: Any) -> None:
        await self.plugin.init_state(self.engine_client, self.app.state, Namespace(**arguments))


class Models:
    base_model_paths = (SimpleNamespace(name="tiny"),)
    lora_requests: dict[str, Any] = {}  # noqa: RUF012

    async def show_available_models(self) -> Any:
        card = {"id": "tiny", "object": "model", "root": "/weights", "parent": None}
        return SimpleNamespace(model_dump=lambda: {"object": "list", "data": [card]})


@pytest.fixture(autouse=True)
def own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "Metrics", lambda: Metrics(prometheus_client.CollectorRegistry()))


def test_a_steering_comes_is_chosen_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The routes have tests of their own; here they stand on vLLM's engine client and its models."""
    monkeypatch.setenv("TRIMTAB_UPLOAD", "1")
    steering(7).save(tmp_path / "later")
    server = Server(tmp_path, json=steering(0))
    workers = server.engines.all
    with TestClient(server.app) as client:
        client.portal.call(server.begin)
        assert all(set(worker.held) == {steering(0).digest()} for worker in workers)
        assert client.post("/v1/steerings/load", json={"folder": "later"}).json()["model"] == "tiny:later"
        assert all(steering(7).digest() in worker.held for worker in workers)
        listed = client.get("/v1/models").json()["data"]
        assert [model["id"] for model in listed] == ["tiny", "tiny:json", "tiny:later"]
        assert client.post("/v1/chat/completions", json={"model": "tiny:later"}).status_code == 200
        assert steering(7).digest() in server.bodies[0]["vllm_xargs"]["steering"]
        assert client.delete("/v1/steerings/later").status_code == 200
        client.portal.call(asyncio.sleep, 0.2)
        assert all(set(worker.held) == {steering(0).digest()} for worker in workers)


def test_the_middleware_stands_behind_what_vllm_adds_later() -> None:
    """So that nobody without an API key learns anything: vLLM adds its check after the plugins."""
    server = Server()

    class Closed:
        def __init__(self, app: Any) -> None:
            self.app = app

    server.app.add_middleware(Closed)
    names = [middleware.cls.__name__ for middleware in server.app.user_middleware]
    assert names.index("Closed") < names.index("SteeringMiddleware") == len(names) - 1


@pytest.mark.parametrize(
    ("extension", "arguments", "says"),
    [
        ("mine.Worker", {}, "it is mine.Worker"),
        ("", {}, "not given"),
        (WORKER, {"api_server_count": 2}, "2 API server processes"),
    ],
)
def test_a_server_that_could_not_be_right_does_not_start(
    extension: str, arguments: dict[str, Any], says: str
) -> None:
    server = Server()
    server.config.parallel_config.worker_extension_cls = extension
    with pytest.raises(ModelError, match=says):
        asyncio.run(server.begin(**arguments))


def test_several_server_processes_are_noticed_in_the_engines_settings() -> None:
    server = Server()
    server.config.parallel_config._api_process_count = 3
    with pytest.raises(ModelError, match="3 API server processes"):
        asyncio.run(server.begin())


@pytest.mark.parametrize(
    ("said", "arguments", "environment", "allowed"),
    [
        ("1", {"host": None}, {}, True),
        ("0", {"host": "127.0.0.1"}, {}, False),
        (None, {"host": "127.0.0.1"}, {}, False),
        ("auto", {"host": "127.0.0.1"}, {}, True),
        ("auto", {"host": None}, {}, False),
        ("auto", {"host": "0.0.0.0", "uds": "/socket"}, {}, True),
        ("auto", {"host": "0.0.0.0"}, {}, False),
        ("auto", {"host": "0.0.0.0", "api_key": ["k"]}, {}, True),
        ("auto", {"host": "0.0.0.0", "api_key": [""]}, {}, False),
        ("auto", {"host": "0.0.0.0", "api_key": [""]}, {"VLLM_API_KEY": "k"}, False),
        ("auto", {"host": "0.0.0.0", "api_key": None}, {"VLLM_API_KEY": "k"}, True),
        ("auto", {"host": "0.0.0.0", "api_key": None}, {"VLLM_API_KEY": ""}, False),
    ],
)
def test_who_may_load_is_decided_by_what_vllm_understood(
    said: str | None,
    arguments: dict[str, Any],
    environment: dict[str, str],
    allowed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"TRIMTAB_UPLOAD": said, "VLLM_API_KEY": environment.get("VLLM_API_KEY")}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    server = Server()
    asyncio.run(server.begin(**arguments))
    assert server.app.state.trimtab.may_change == allowed
    keys = arguments.get("api_key") or [environment.get("VLLM_API_KEY")]
    assert server.app.state.trimtab.has_key == any(keys)


def test_sites_that_may_load_are_those_of_vllms_command_line() -> None:
    server = Server()
    asyncio.run(server.begin(allowed_origins=["*", "https://mine.example"]))
    assert server.app.state.trimtab.origins == {"https://mine.example"}


def test_what_would_answer_mistakes_unsteered_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_SKIP_MODEL_NAME_VALIDATION", "1")
    with pytest.raises(TrimtabError, match="VLLM_SKIP_MODEL_NAME_VALIDATION"):
        asyncio.run(Server().begin())


def test_steering_that_was_lost_on_the_way_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_UPLOAD", "auto")
    server = Server()
    server.engine_client.input_processor = SimpleNamespace(vllm_config=SimpleNamespace(additional_config={}))
    with pytest.raises(ModelError, match="no steering in its --additional-config"):
        asyncio.run(server.begin())


def test_a_server_without_steering_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIMTAB_UPLOAD", raising=False)
    server = Server()
    server.engine_client.input_processor = SimpleNamespace(vllm_config=SimpleNamespace(additional_config={}))
    asyncio.run(server.begin())
    answer = TestClient(server.app).get("/v1/steerings")
    assert answer.status_code == 404
    assert "trimtab serve" in answer.json()["error"]["message"]


def test_a_server_without_an_engine_is_left_alone() -> None:
    server = Server()
    asyncio.run(server.plugin.init_state(None, server.app.state, Namespace()))
    assert server.app.state.trimtab is None
