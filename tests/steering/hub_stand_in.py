"""A stand-in for the Hub's API on this machine: what creating, committing to and fetching a repository needs of it."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_this-is-the-secret"


@dataclass
class Repository:
    """One repository: the files of each commit, and which commit a branch or tag names."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], message: str, branch: str = "main") -> str:
        before = self.commits.get(self.references.get(branch, ""), {})
        self.messages.append(message)
        oid = hashlib.sha1(f"{len(self.messages)} {message}".encode()).hexdigest()
        self.commits[oid] = {**before, **files}
        self.references[branch] = oid
        return oid

    def files(self, branch: str = "main") -> dict[str, bytes]:
        return self.commits[self.references[branch]]


class Hub:
    """Repositories by name, and every request that came."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.failing: int | None = None
        self.address = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_GET  # noqa: N815 - names of http.server

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if self.hub.failing:
            return self._send({"error": "out of order"}, self.hub.failing)
        if self.command == "POST" and not allowed:
            return self._send({"error": "Invalid username or password."}, 401)
        if parts[:3] == ["api", "repos", "create"]:
            return self._create(json.loads(body))
        if parts[:2] == ["api", "validate-yaml"]:
            return self._send({"errors": [], "warnings": []})
        if parts[0] == "api" and len(parts) < 4:  # of the Hub itself: who asks, and what it knows of agents
            return self._send({"error": "not here"}, 404)
        if parts[0] == "api":
            owner, name, *rest = parts[2:]
        else:
            owner, name, *rest = parts
        repository = self.hub.repositories.get(f"{owner}/{name}")
        if repository is None or (repository.private and not allowed):
            return self._send({"error": "Repository not found"}, 404 if allowed else 401, "RepoNotFound")
        if repository.gated and not allowed and parts[0] != "api":
            return self._send({"error": "Access is restricted"}, 403, "GatedRepo")
        if self.command == "POST":
            return self._write(repository, f"{owner}/{name}", rest, body)
        return self._read(repository, rest)

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        there = name in self.hub.repositories
        if not there:
            repository = self.hub.repositories[name] = Repository(
                private=asked.get("visibility") == "private"
            )
            repository.commit({".gitattributes": b""}, "initial commit")
        self._send({"url": f"{self.hub.address}/{name}"}, 409 if there else 200)

    def _write(self, repository: Repository, name: str, rest: list[str], body: bytes) -> None:
        kind, branch = rest[0], "/".join(rest[1:])
        if kind == "branch":
            there = branch in repository.references
            repository.references.setdefault(branch, repository.references["main"])
            return self._send({}, 409 if there else 200)
        if branch not in repository.references:
            return self._send({"error": "Invalid rev id"}, 404, "RevisionNotFound")
        if kind == "preupload":
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self._send({"files": files})
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        contents = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines[1:]
            if line["key"] == "file"
        }
        request = "create_pr=1" in self.path
        oid = repository.commit(contents, header["summary"], "refs/pr/1" if request else branch)
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.address}/{name}/commit/{oid}"}
        if request:
            answer["pullRequestUrl"] = f"{self.hub.address}/{name}/discussions/1"
        return self._send(answer)

    def _read(self, repository: Repository, rest: list[str]) -> None:
        if rest[:1] == ["resolve"]:
            files = repository.commits[rest[1]]
            content = files.get("/".join(rest[2:]))
            if content is None:
                return self._send({"error": "Entry not found"}, 404, "EntryNotFound")
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": rest[1]}
            return self._send(content, headers=headers)
        revision = "/".join(rest[1:]) or "main"
        oid = repository.references.get(revision, revision)
        if oid not in repository.commits:
            return self._send({"error": "Invalid rev id"}, 404, "RevisionNotFound")
        files = repository.commits[oid]
        if rest[:1] == ["tree"]:
            return self._send(
                [
                    {
                        "type": "file",
                        "path": path,
                        "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    for path, content in files.items()
                ]
            )
        return self._send({"id": "x/y", "sha": oid, "siblings": [{"rfilename": path} for path in files]})

    def _send(
        self, content: Any, status: int = 200, code: str = "", headers: dict[str, str] | None = None
    ) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if not isinstance(content, bytes):
            self.send_header("Content-Type", "application/json")
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", content["error"])
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that was killed
            super().handle_error(request, client_address)


@contextmanager
def running() -> Iterator[Hub]:
    """A stand-in that answers at its address."""
    hub = Hub()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
