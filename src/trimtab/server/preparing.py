"""From the body of a request to the answers that are ordered: prompts as tokens, edits, sampling, constraint."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.engines.chat import beginning
from trimtab.engines.constraining import Start
from trimtab.errors import TrimtabError
from trimtab.serve.composition import Composition
from trimtab.serve.refusal import RefusedError
from trimtab.serve.request import STEERING_KEY, parse_request
from trimtab.serve.resolving import edits_of, resolve
from trimtab.server.fields import Body, ChatBody, CompletionBody
from trimtab.server.formats import constraint_of
from trimtab.server.limits import Limits
from trimtab.server.text import AnswerText
from trimtab.server.writing import Order

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.engines.base import Prompt
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.serve.library import SteeringLibrary
    from trimtab.steering.edits import Edit

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_EMPTY = ("audio", "function_call", "name", "refusal", "tool_calls", "tool_call_id")
_LEFT_OUT = ("annotations", "reasoning", "reasoning_content")
_PART = ("type", "text", "cache_control")
"""Fields of a part of text; the last is about what a server may keep, which changes no answer."""
_LEAST_TEMPERATURE = 1e-5
_TOKENS = 4096
"""The most tokens of a prompt and its answer where the model does not say what its context holds."""


@dataclass(frozen=True)
class Prepared:
    """What a request comes to.

    Attributes:
        orders: The answers that are wanted: of each prompt as many as asked for, one after the other.
        composition: What steers them.
        prompt_tokens: The tokens of all prompts.
    """

    orders: list[Order]
    composition: Composition
    prompt_tokens: int


class Preparing:
    """Makes requests ready for one engine. May be called from any thread.

    Args:
        engine: What answers.
        library: The steerings that can be named.
        held: The edits of each steering that can be asked for, by digest.
        limits: How much a request may ask for.
    """

    def __init__(
        self,
        engine: TransformersEngine,
        library: SteeringLibrary,
        held: Mapping[str, Sequence[Edit]],
        limits: Limits,
    ) -> None:
        self._engine = engine
        self._library = library
        self._held = held
        self._limits = limits
        self._own = engine.model.generation_config

    @property
    def room(self) -> int:
        """The most tokens of a prompt and its answer."""
        context = self._engine.encoding.limit
        given = [one for one in (context, self._limits.tokens) if one is not None]
        return min(given, default=_TOKENS)

    def chat(self, body: ChatBody) -> Prepared:
        """The answers to a chat.

        Raises:
            RefusedError: It asks for what cannot be had.
        """
        chat = _chat(body)
        rows = self._engine.encoding.prompts([chat])
        return self._prepared(body, rows, beginning(chat), thinks=True)

    def completion(self, body: CompletionBody) -> Prepared:
        """The texts that go on from prompts.

        Raises:
            RefusedError: It asks for what cannot be had.
        """
        given = body.prompt
        prompts = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
        if not prompts:
            raise RefusedError("there is no prompt", reason="malformed", parameter="prompt")
        rows = [self._row(prompt) for prompt in prompts]
        return self._prepared(body, rows, "", thinks=False)

    def _row(self, prompt: Any) -> list[int]:
        if isinstance(prompt, str):
            return self._engine.encoding.prompts([prompt], raw=True)[0]
        width = len(self._engine.model.get_input_embeddings().weight)
        if not prompt or not all(0 <= token < width for token in prompt):
            raise RefusedError(
                f"a prompt of tokens has at least one, and each is between 0 and {width - 1}",
                reason="malformed",
                parameter="prompt",
            )
        return list(prompt)

    def _prepared(self, body: Body, rows: list[list[int]], begun: str, *, thinks: bool) -> Prepared:
        count = (body.n or 1) * len(rows)
        if count > self._limits.answers:
            raise RefusedError(
                f"a request may ask for {self._limits.answers} answers, and this one asks for {count}; ask again for "
                "more",
                reason="too_many",
                parameter="n",
            )
        arguments = body.vllm_xargs or {}
        if unread := [name for name in arguments if name != STEERING_KEY and arguments[name] is not None]:
            raise RefusedError(
                f"vllm_xargs.{unread[0]:.60} is not served by the transformers engine; leave it out",
                reason="unserved",
                parameter="vllm_xargs",
            )
        composition, edits = self.steering(arguments.get(STEERING_KEY))
        held = self.start(constraint_of(body.response_format, body.structured_outputs), begun)
        if held is not None and thinks:
            rows = [self._engine.encoding.answering(row) for row in rows]
        orders = [
            self._order(body, row, edits, held, number, thinks=thinks)
            for row in rows
            for number in range(body.n or 1)
        ]
        return Prepared(orders, composition, sum(map(len, rows)))

    def _order(
        self,
        body: Body,
        row: list[int],
        edits: Sequence[Edit],
        held: Start | None,
        number: int,
        *,
        thinks: bool,
    ) -> Order:
        sampling = self._sampling(body)
        seed = None if body.seed is None else (body.seed + number) % 2**63
        return self.order(
            row,
            edits,
            self.longest(len(row), body.most_tokens),
            **sampling,
            seed=seed,
            logprobs=body.alternatives,
            held=held,
            stops=body.stops,
            thinks=thinks,
        )

    def order(
        self,
        row: list[int],
        edits: Sequence[Edit],
        most: int,
        *,
        stops: Sequence[str] = (),
        seed: int | None = None,
        logprobs: int | None = None,
        held: Start | None = None,
        thinks: bool = True,
        **sampling: Any,
    ) -> Order:
        """One answer of at most so many tokens to a prompt of tokens; `sampling` as `Ask` has it."""
        from trimtab.engines.continuous import Ask

        ask = Ask(
            tuple(row),
            tuple(edits),
            max_new_tokens=most,
            **sampling,
            seed=secrets.randbits(63) if seed is None else seed,
            logprobs=logprobs,
            constraint=held,
        )
        reader = self._engine.thoughts
        return Order(ask, AnswerText(reader, reader.after(row) if thinks else None, stops))

    def longest(self, prompt: int, asked: int | None) -> int:
        """The tokens that an answer to a prompt of so many may have, of those that were asked for; None is all.

        Raises:
            RefusedError: There is no room for them.
        """
        room = self.room - prompt
        if room < (asked or 1):
            more = f" with {asked} new tokens" if asked else ""
            raise RefusedError(
                f"the prompt has {prompt} tokens{more}, and there is room for {self.room}; shorten the prompt or lower "
                "max_tokens",
                reason="too_long",
                parameter="max_tokens" if asked and room > 0 else None,
            )
        return asked or room

    def steering(self, asked: Any) -> tuple[Composition, tuple[Edit, ...]]:
        """What steers a request that asks for this, and the edits of it."""
        if asked is None:
            return (), ()
        resolved = resolve(parse_request(asked), self._library)
        return resolved.composition, edits_of(resolved, self._held)

    def start(self, constraint: Constraint | None, begun: str) -> Start | None:
        """What holds an answer that begins with some text.

        Raises:
            RefusedError: The constraint cannot be used.
        """
        if constraint is None:
            return None
        try:
            return Start(self._engine.matchers.matcher(constraint, begun), constraint.other_case)
        except ImportError as error:
            raise RefusedError(
                "answers are held to a form by the package llguidance, which this server lacks: pip install "
                "'trimtab[constraints]'",
                reason="unserved",
                parameter="response_format",
            ) from error
        except TrimtabError as error:
            raise RefusedError(error, reason="malformed", parameter="response_format") from error

    def _sampling(self, body: Body) -> dict[str, Any]:
        """What was asked for, else what the model's own settings say, else plain sampling, as OpenAI has it."""
        temperature = _first(body.temperature, self._own.temperature, 1.0)
        if temperature < _LEAST_TEMPERATURE:
            return {"do_sample": False}
        top_k = _first(body.top_k, getattr(self._own, "top_k", None), 0)
        return {
            "do_sample": True,
            "temperature": max(float(temperature), 0.01),
            "top_p": float(_first(body.top_p, self._own.top_p, 1.0)),
            "top_k": max(int(top_k), 0),
        }


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _chat(body: ChatBody) -> Prompt:
    messages = [_message(number, message) for number, message in enumerate(body.messages)]
    goes_on = messages[-1]["role"] == "assistant"
    if goes_on != bool(body.continue_final_message):
        raise RefusedError(
            "a chat that ends with the assistant's message is gone on with by continue_final_message=true; else end it "
            "with the user's"
            if goes_on
            else "continue_final_message goes with a chat that ends with the assistant's message; leave it out",
            reason="malformed",
            parameter="continue_final_message" if body.continue_final_message else "messages",
        )
    return messages


def _message(number: int, message: Mapping[str, Any]) -> dict[str, Any]:
    where = f"messages.{number}"
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        raise _refused(f"{where}.role is one of {', '.join(_ROLES)}, not {role!r:.60}")
    for name, value in message.items():
        if name in ("role", "content", *_LEFT_OUT) or value is None or (name in _EMPTY and not value):
            continue
        why = "is not served by the transformers engine" if name in _EMPTY else "is no field of a message"
        raise _refused(f"{where}.{name:.60} {why}; leave it out")
    if isinstance(content, list):
        for place, part in enumerate(content):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            if kind != "text" or not isinstance(part.get("text"), str):
                raise _refused(
                    f"{where}.content.{place} is {kind!r:.60}; parts are {{'type': 'text', 'text': ...}}, since the "
                    "model reads text alone"
                )
            if unread := [name for name in part if name not in _PART and part[name] is not None]:
                raise _refused(
                    f"{where}.content.{place}.{unread[0]:.60} is no field of a part of text; leave it out"
                )
    elif not isinstance(content, str):
        raise _refused(f"{where}.content is text or a list of text parts, not {type(content).__name__}")
    return {"role": _ROLES[role], "content": content}


def _refused(message: str) -> RefusedError:
    return RefusedError(message, reason="malformed", parameter="messages")
