"""What is asked: steerings, and a mix of requests under them, some of which are wrong."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trimtab import nano
from trimtab.engines.base import Engine
from trimtab.steering.edits import Edit
from trimtab.steering.record import Record
from trimtab.steering.steering import Steering

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TOKENS = 20
FLICKERING = 5
"""So many steerings are unloaded and loaded again, over and over."""
CHANGING = "changing"
"""The name that keeps changing what it stands for."""


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        kind: `valid`, `malformed`, `hang up`, `hang up streaming`.
        path: Where it goes.
        body: What is sent.
        stream: Whether the answer is a stream.
        status: What a malformed one is answered with.
        may_miss: Whether its steering may be unloaded at that moment, which is a 400.
    """

    kind: str
    path: str
    body: bytes
    stream: bool = False
    status: int = 200
    may_miss: bool = False

    @property
    def key(self) -> str:
        """Equal for requests with equal answers."""
        body = json.loads(self.body)
        body.pop("stream", None)
        return self.path + json.dumps(body, sort_keys=True)


def steerings_for(engine: Engine, count: int) -> dict[str, Steering]:
    """Random steerings that show in the answers: additions and gated edits, in one to three blocks, all scopes.

    Args:
        engine: The model they are for.
        count: How many.
    """
    chance, numbers = random.Random(0), torch.Generator().manual_seed(0)
    identity = engine.identity
    size = engine.capture(["How large is the residual stream?"], keep=True).activations.norm(dim=-1)[0]

    def edit(block: int) -> Edit:
        u, p = torch.nn.functional.normalize(torch.randn(2, identity.width, generator=numbers))
        much = 0.5 * float(size[block])
        scope = chance.choice(["all", "all", "prompt", "generated"])
        if chance.random() < 0.5:
            return Edit.add(block, u, much, scope)
        return Edit(block, u * much, alpha=0.5, p=p * (8 / float(size[block])), tokens=scope)

    found = {}
    for number in range(count):
        blocks = chance.sample(range(identity.blocks), chance.randint(1, min(3, identity.blocks)))
        found[f"s{number:03d}"] = Steering(f"s{number:03d}", tuple(map(edit, blocks)), Record(identity))
    return found


def asks(names: Sequence[str], width: int, count: int, seed: int = 0) -> list[Ask]:
    """A mix of requests, the same for the same arguments.

    Args:
        names: The steerings there are; the first `FLICKERING` of them may be gone at times.
        width: Of the model.
        count: How many requests: one in ten is malformed, one in fifteen hangs up.
        seed: Another gives others.
    """
    chance = random.Random(seed)
    questions = nano.queries("test", 24, seed=seed)
    wrong = itertools.cycle(_malformed(names[FLICKERING:], width))
    found = []
    for number in range(count):
        if number % 10 == 3:
            found.append(next(wrong))
            continue
        kind = {5: "hang up", 17: "hang up streaming"}.get(number % 24, "valid")
        stream = kind == "hang up streaming" or (kind == "valid" and chance.random() < 0.3)
        expression = _expression(names, chance)
        body: dict[str, Any] = {"model": "nano", "max_tokens": TOKENS, "temperature": 0}
        if kind != "valid":
            body["max_tokens"] = 200
        if expression and chance.random() < 0.5:
            body["model"] += f":{expression}"
        elif expression:
            body["vllm_xargs"] = {"steering": expression}
        if stream:
            body["stream"] = True
        path = CHAT if chance.random() < 0.7 else COMPLETIONS
        question = chance.choice(questions)
        if path == CHAT:
            body["messages"] = [{"role": "user", "content": question}]
        else:
            body["prompt"] = question
        risky = {*names[:FLICKERING]}
        may_miss = any(part.split("*")[0] in risky for part in expression.split("+"))
        found.append(Ask(kind, path, json.dumps(body).encode(), stream, may_miss=may_miss))
    return found


def _expression(names: Sequence[str], chance: random.Random) -> str:
    """What a request asks for: nothing, one, one with a strength, two, the flickering ones, the changing one."""
    draw = chance.random()
    if draw < 0.15:
        return ""
    if draw < 0.2:
        return CHANGING
    if draw < 0.35:
        return chance.choice(names[:FLICKERING])
    if draw < 0.75:
        return chance.choice(names) + chance.choice(["", "", "*0.5", "*-1"])
    return "+".join(chance.sample(names, 2))


def _malformed(names: Sequence[str], width: int) -> list[Ask]:
    def ask(status: int = 400, path: str = CHAT, **body: Any) -> Ask:
        whole = {"model": "nano", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, **body}
        return Ask("malformed", path, json.dumps(whole).encode(), status=status)

    def own(**edit: Any) -> dict[str, Any]:
        return {"steering": json.dumps({"edits": [{"block": 0, "u": [0.1] * width, "alpha": 1, **edit}]})}

    gates = [{"block": 0, "u": [0.1] * width, "p": [0.01 * n] * width} for n in range(1, 20)]
    return [
        Ask("malformed", CHAT, b'{"model": "nano:s', status=400),
        Ask("malformed", CHAT, b"\xff\xfe\x00", status=400),
        ask(model="nano:no-such-steering"),
        ask(model=f"nano:{names[0]}**2"),
        ask(model="nano:"),
        ask(404, model="another"),
        ask(vllm_xargs={"steering": "{"}),
        ask(vllm_xargs={"steering": f"{names[0]}*1e300"}),
        ask(vllm_xargs={"steering": 7}),
        ask(vllm_xargs={"steering": "sha256:" + "0" * 64}),
        ask(vllm_xargs={"trimtab": "{}"}),
        ask(vllm_xargs=own(u=[0.1] * (width + 1))),
        ask(vllm_xargs=own(u=[float("nan")] * width)),
        ask(vllm_xargs=own(u=[1e39] * width)),
        ask(vllm_xargs=own(block=999)),
        ask(vllm_xargs={"steering": json.dumps({"edits": gates})}),
        ask(model=f"nano:{names[0]}", use_beam_search=True, n=2),
        ask(model=f"nano:{names[0]}", messages="no list"),
        ask(model=f"nano:{names[0]}", temperature=-1),
        ask(model=f"nano:{names[0]}", messages=[{"role": "user", "content": "long " * 2000}]),
    ]
