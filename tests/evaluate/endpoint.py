"""A real HTTP server that speaks OpenAI's chat completions, and answers by rule."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Rule = Callable[[str, dict[str, Any]], "str | int | dict[str, Any] | Raw"]
"""From a request's prompt and body to the reply, the choice with its likelihoods, the HTTP status it fails with, or all
that the server sends."""


@dataclass(frozen=True)
class Raw:
    """What a server sends that is no chat completion."""

    body: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


class Endpoint:
    """What a running server was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prompts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.refusal = "not today"


def diligent(prompt: str, body: dict[str, Any]) -> str:
    """Writes five questions; says yes to the odd ones, no to the second, and that the fourth does not apply.

    An answer that says "perfect" gets yes throughout.
    """
    if "Judge the answer" not in prompt:
        asked = re.search(r"<request>\n(.*)\n</request>", prompt, re.DOTALL)
        topic = asked[1] if asked else ""
        return "Here they are:\n" + "\n".join(f"{n}. Is {topic!r} answered, part {n}?" for n in range(1, 6))
    if "perfect" in prompt:
        return "\n".join(f"{n}. fine -> Yes." for n in range(1, 6))
    return "1. so it does -> yes\n2) it does not -> **no**\n3. Yes, it is.\n4: not asked for -> N/A\n5. clear -> yes"


@contextmanager
def serving(rule: Rule = diligent) -> Iterator[Endpoint]:
    """Runs a server on a free port of this machine while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = body["messages"][0]["content"]
            endpoint.prompts.append(prompt)
            endpoint.bodies.append(body)
            endpoint.keys.append(self.headers.get("Authorization"))
            reply = rule(prompt, body) if self.path == "/v1/chat/completions" else 404
            if isinstance(reply, Raw):
                self.send(reply.status, reply.headers, reply.body.encode())
                return
            if isinstance(reply, int):
                status, document = reply, {"error": {"message": endpoint.refusal, "type": "rule"}}
            else:
                message = {"role": "assistant", "content": reply if isinstance(reply, str) else ""}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                if isinstance(reply, dict):
                    choice |= reply
                status, document = (
                    200,
                    {
                        "id": "1",
                        "object": "chat.completion",
                        "created": 0,
                        "model": body["model"],
                        "choices": [choice],
                    },
                )
            self.send(status, {"Content-Type": "application/json"}, json.dumps(document).encode())

        def send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
