"""The embedded server and its page, as what takes requests: over ASGI and in Gradio's own steps, without a socket."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from tests.fuzzing.guard import LONGEST, SECONDS, FaultError

from trimtab.serve.refusal import RefusedError

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}}, "required": ["a"]}
STEERED = {"steerings": [{"name": "json", "strength": 0.8}]}
CHATS: tuple[dict[str, Any], ...] = (
    {
        "model": "tiny:json*0.5",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "why?"}]},
            {"role": "assistant", "content": "so", "tool_calls": []},
            {"role": "user", "content": "why though?", "name": None},
        ],
        "max_tokens": 3,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "n": 2,
        "seed": 1,
        "stop": ["zz"],
        "logprobs": True,
        "top_logprobs": 2,
        "user": "me",
        "metadata": {"a": "b"},
        "tools": [],
        "presence_penalty": 0,
        "vllm_xargs": {"steering": STEERED},
    },
    {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
    },
    {
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}],
        "continue_final_message": True,
        "max_tokens": 2,
        "steering": "json*0.5",
        "structured_outputs": {"regex": "[a-z]+"},
    },
)
"""Sound bodies, in which together every kind of field stands."""
COMPLETIONS: tuple[dict[str, Any], ...] = (
    {
        "model": "tiny",
        "prompt": ["the sea", "a"],
        "max_tokens": 3,
        "temperature": 0,
        "logprobs": 1,
        "n": 1,
        "stop": "zz",
        "echo": False,
        "steering": STEERED,
    },
    {"model": "tiny:json", "prompt": [5, 6, 7], "max_tokens": 2, "stream": True},
)


# --- the server -----------------------------------------------------------------------------------------------------


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread that goes with the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


def _result(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result(2 * SECONDS)


def _quiet() -> logging.Logger:
    log = logging.Logger("fuzzed")
    log.addHandler(logging.NullHandler())
    return log


@cache
def server() -> Any:
    """A server of a tiny model with one steering, whose answers are short."""
    from tests.tiny import random_steering, tiny_engine

    from trimtab.server.app import build_app
    from trimtab.server.embedded import Embedded
    from trimtab.server.limits import Limits

    engine = tiny_engine("llama")
    limits = Limits(tokens=100, answers=4)
    app = build_app(Embedded(engine, name="tiny", gates=2, limits=limits, log=_quiet()))
    app.state.trimtab.library.add("json", random_steering(engine))
    _result(_entered(app))
    return app


async def _entered(app: Any) -> None:
    app.state.lifespan = app.router.lifespan_context(app)  # held, since it ends with its last reference
    await app.state.lifespan.__aenter__()


async def _exchange(path: str, content: bytes) -> Any:
    import httpx

    transport = httpx.ASGITransport(server(), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=SECONDS) as client:
        return await client.post(path, content=content, headers={"content-type": "application/json"})


def sent(path: str, value: Any) -> Any:
    """What a server answers to a body: JSON, the events of a stream, or a refusal in OpenAI's form.

    Raises:
        RefusedError: It refuses it.
        FaultError: It fails, or its answer is of another form.
    """
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        content = text.encode("utf-8", "surrogateescape")  # damaged bytes as they were
    except UnicodeEncodeError:
        content = text.encode("utf-8", "surrogatepass")
    server()
    answer = _result(_exchange(path, content))
    if answer.status_code == 200:
        if not answer.headers["content-type"].startswith("text/event-stream"):
            return _choices(_json(answer.content))
        events = [line.removeprefix(b"data: ") for line in answer.content.split(b"\n\n") if line]
        if events[-1] != b"[DONE]":
            raise FaultError("a stream that does not end")
        return [_choices(_json(event)) for event in events[:-1]]
    raise _refusal(answer)


def _refusal(answer: Any) -> RefusedError:
    if not 400 <= answer.status_code < 500:
        raise FaultError(f"status {answer.status_code}: {answer.content!r:.300}")
    error = _json(answer.content)["error"]
    if set(error) != {"message", "type", "param", "code"} or error["code"] != answer.status_code:
        raise FaultError(f"no error of OpenAI's form: {error!r:.300}")
    if not error["message"] or len(error["message"]) > LONGEST or not isinstance(error["param"], str | None):
        raise FaultError(f"an error that helps nobody: {error!r:.300}")
    return RefusedError(error["message"], reason="", status=error["code"], parameter=error["param"])


def _choices(answer: Any) -> Any:
    if not isinstance(answer.get("choices"), list) or "error" in answer:
        raise FaultError(f"an answer without choices: {answer!r:.300}")
    return answer["choices"]


def _json(content: bytes) -> Any:
    def refuse(word: str) -> None:
        raise FaultError(f"{word} is no JSON")

    return json.loads(content.decode("utf-8"), parse_constant=refuse)


def chat_route(value: Any) -> Any:
    """Sends a chat."""
    return sent("/v1/chat/completions", value)


def completion_route(value: Any) -> Any:
    """Sends a text to go on with."""
    return sent("/v1/completions", value)


# --- the page -------------------------------------------------------------------------------------------------------

PAGE: dict[str, tuple[tuple[Any, ...], ...]] = {
    "ask": (("why?", {"json": 1.0, "lowercase": "0.5"}, None),),
    "again": (("why?", {"json": 1.0}, None),),
    "load": (("./nothing-here",),),
    "look": (
        ("From the catalogue", "sentences(at_most=2)", "a", "Say a.\nBegin with a.", "^a", False),
        ("In my own words", "json", "a", "Say a.\nBegin with a.", "^a", False),
    ),
    "matches": (("^a+", "aaa", True),),
    "teach": (
        ("From the catalogue", "sentences(at_most=2)", "a", "Say a.", "^a", False),
        ("In my own words", "json", "fuzzed", "Say a.\nBegin with a.\nAn a, please.", "^a", True),
    ),
    "push": (("json", 1.5, "why?"),),
    "sweep": (("json",),),
    "together": (("json", "other"),),
    "fit": (("json", "other"),),
    "renew": (("json",), ("json", "other")),
}
"""What the page's controls send, by what they call."""
_STEPS = 3
"""Of what answers step by step: the first show whether it was understood."""


@cache
def page() -> tuple[Any, Any]:
    """The page over a tiny model with two steerings; it teaches nothing, for want of time."""
    from tests.tiny import random_steering, tiny_engine

    from trimtab.page.app import build
    from trimtab.page.working import Job
    from trimtab.page.workplace import Workplace

    class Small(Workplace):
        max_new_tokens = 3

    class Idle(Job):
        def begin(self, title: str, work: Any) -> None:
            pass

    place = Small(tiny_engine("llama", max_position_embeddings=512))
    place.job = Idle()
    for number, name in enumerate(("json", "other")):
        place.library.add(name, random_steering(place.engine, number))

    async def built() -> Any:
        return build(place)  # outside of an event loop Gradio would make some, and leave them behind

    return _result(built()), place


def page_call(name: str) -> Callable[[Any], Any]:
    """What takes the inputs of one control of the page, as Gradio would hand them on, and gives what it shows."""

    def take(value: Any) -> Any:
        blocks, place = page()
        if not isinstance(value, list) or len(value) not in map(len, PAGE[name]):
            return None  # which Gradio refuses
        try:
            return _result(_stepped(blocks, name, value))
        finally:
            _forget(place)

    return take


async def _stepped(blocks: Any, name: str, value: list[Any]) -> Any:
    import gradio
    from gradio.context import LocalContext
    from gradio.state_holder import SessionState
    from starlette.requests import Request

    call = next(one for one in blocks.fns.values() if one.name == name and len(one.inputs) == len(value))
    state = SessionState(blocks)
    try:
        inputs = await blocks.preprocess_data(call, value, state)
    except Exception as error:
        raise RefusedError(f"{type(error).__name__} {error!s:.200}", reason="") from error
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    request = gradio.Request(request=Request({**scope, "server": ("here", 80), "scheme": "http"}))
    more = [request] if name in ("ask", "again") else []
    began = LocalContext.in_event_listener.set(True)  # what is made now of a component is a change of it
    found = call.fn(*inputs, *more)
    shown = list(islice(found, _STEPS)) if hasattr(found, "__next__") else [found]
    LocalContext.in_event_listener.reset(began)
    for one in shown:
        await blocks.postprocess_data(call, list(one) if isinstance(one, tuple) else one, state)
    return len(shown)


def _forget(place: Any) -> None:
    """Takes instructions of one's own away again, which were made for a trial."""
    from trimtab.instructions.registry import REGISTER

    for file in place.instructions_folder.glob("*.toml"):
        for kind in REGISTER.all():
            if kind.source == str(file):
                REGISTER.remove(kind.name)
        file.unlink()


def write_zip(folder: Path) -> None:
    """A zip file as the page gives it for download."""
    (folder / "json.zip").write_bytes(page()[1].zipped(["json"]))


def read_zip(folder: Path) -> Any:
    """Puts what a zip file holds into the page's list."""
    names = page()[1].load_zip(folder / "json.zip")
    return [page()[1].steering(name).digest() for name in names]
