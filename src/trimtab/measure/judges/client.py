"""The client by which judges at OpenAI-compatible endpoints are asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    import openai

_SHOWN = 300  # characters of what an endpoint says


def address(base_url: str | None) -> str | None:
    """The endpoint: the one that is named, else that of `OPENAI_BASE_URL`; None for OpenAI's own."""
    # The client would read the variable by itself, but entries of a cache must know whose they are.
    return base_url or os.environ.get("OPENAI_BASE_URL") or None


def client(base_url: str | None, api_key: str | None, timeout: float) -> openai.OpenAI:
    """A client of the endpoint.

    Args:
        base_url: Its address; None for OpenAI's own.
        api_key: Its key; None takes `OPENAI_API_KEY`, and none for an endpoint of one's own.
        timeout: Seconds until a request is given up; it is then tried again, twice.

    Raises:
        TrimtabError: The `openai` client is not installed, or there is no key.
    """
    if find_spec("openai") is None:
        raise TrimtabError(
            "a judge needs the openai client, which is not installed; pip install 'trimtab[judge]'"
        )
    import openai

    key = api_key or os.environ.get("OPENAI_API_KEY")
    if key is None and base_url is None:
        raise TrimtabError(
            "a judge at OpenAI needs a key in OPENAI_API_KEY; or name an endpoint of your own as the judge's address"
        )
    return openai.OpenAI(base_url=base_url, api_key=key or "none", timeout=timeout)


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered.

    Attributes:
        text: The text; empty where there is none.
        first: Of the most likely first tokens, the log-likelihoods; empty where it gives none.
        cut_off: Whether it ended for the lack of tokens.
    """

    text: str
    first: Mapping[str, float] = field(default_factory=dict)
    cut_off: bool = False


class RefusedError(TrimtabError):
    """An endpoint does not take a request of this form, whatever the prompt."""


class Endpoint:
    """A model behind an endpoint, asked one message at a time. Whatever goes wrong is one line.

    Args:
        model: The endpoint's name of the model.
        base_url: See `client`.
        api_key: See `client`.
        timeout: See `client`.

    Raises:
        TrimtabError: See `client`.
    """

    def __init__(self, model: str, base_url: str | None, api_key: str | None, timeout: float) -> None:
        self.model = model
        self.base_url = base_url
        self._client = client(base_url, api_key, timeout)

    def ask(self, prompt: str, **options: Any) -> Reply:
        """What the model says to a prompt; `options` are those of chat completions.

        Raises:
            RefusedError: The endpoint does not take the options.
            TrimtabError: It cannot be reached, fails, or answers something else than a chat completion.
        """
        import openai

        try:
            reply = self._client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": prompt}], **options
            )
        except openai.BadRequestError as error:
            raise RefusedError(self._failed(str(error))) from error
        except openai.RateLimitError as error:
            wait = error.response.headers.get("retry-after")
            asked = f"; it asks to wait {wait} s" if wait else ""
            raise TrimtabError(self._failed(f"{error}, after three tries{asked}")) from error
        except openai.APITimeoutError as error:
            seconds = self._client.timeout
            said = f"no answer within {seconds:g} s" if isinstance(seconds, int | float) else str(error)
            raise TrimtabError(self._failed(f"{said}, after three tries")) from error
        except openai.OpenAIError as error:
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise TrimtabError(self._failed(f"{error}{cause}")) from error
        except ValueError as error:  # which the client leaves to its caller
            raise TrimtabError(self._failed(f"its answer is not JSON ({error})")) from error
        try:
            return _read(reply)
        except (AttributeError, TypeError, IndexError, KeyError):
            said = getattr(reply, "error", None) or (reply if isinstance(reply, str) else "")
            shown = f": {_line(said)}" if said else ""
            raise TrimtabError(
                self._failed(
                    f"it does not answer as chat completions do{shown} (is the address right? most end in /v1)"
                )
            ) from None

    def _failed(self, why: str) -> str:
        return (
            f"the judge {self.model} at {self.base_url or 'OpenAI'} failed: {_line(why)}; "
            "what was judged before is kept, so run it again when it answers"
        )


def _read(reply: Any) -> Reply:
    if not isinstance(reply.choices, list):
        raise TypeError
    if not reply.choices:  # filtered, say
        return Reply("")
    choice = reply.choices[0]
    content = choice.message.content or ""
    if isinstance(content, list):  # of parts, as some give it
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if not isinstance(content, str):
        raise TypeError
    tokens = getattr(choice.logprobs, "content", None)
    likely = (tokens[0].top_logprobs or ()) if tokens else ()
    return Reply(content, {one.token: one.logprob for one in likely}, choice.finish_reason == "length")


def _line(text: Any) -> str:
    """A text of anybody's on one line, and not a long one."""
    line = " ".join(str(text).split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


@contextmanager
def asking(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that ask, so many at a time. Where one fails or is interrupted, what waits is not asked any more."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
