"""The client by which judges at OpenAI-compatible endpoints are asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    import openai


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


@contextmanager
def asking(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that ask, so many at a time. Where one fails or is interrupted, what waits is not asked any more."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
