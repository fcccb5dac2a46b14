"""What is right: the answers of a quiet server, and what is wrong with those of the busy one."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.serving.load.mix import CHANGING, Ask
from benchmarks.serving.load.play import send
from benchmarks.serving.server import Server
from trimtab.errors import TrimtabError


async def references(
    server: Server, asked: Sequence[Ask], digests: dict[str, str]
) -> dict[tuple[str, str | None], str]:
    """What a quiet server answers, one request after the other, by request and what it stands for.

    Args:
        server: A server that nobody else uses.
        asked: Valid requests.
        digests: What the changing name may stand for: the name there by digest.

    Returns:
        The answers by `Ask.key` and header; for requests with the changing name one for each of its meanings.
    """
    import httpx  # it comes with vLLM

    found: dict[tuple[str, str | None], str] = {}
    asked_already = set()
    async with httpx.AsyncClient(base_url=server.address, timeout=120) as http:
        for ask in asked:
            if ask.key in asked_already:
                continue
            asked_already.add(ask.key)
            bodies = [ask.body]
            if CHANGING.encode() in ask.body:
                bodies = [ask.body.replace(CHANGING.encode(), name.encode()) for name in digests.values()]
            for body in bodies:
                status, text, header = await send(http, Ask("valid", ask.path, body, ask.stream))
                if status != 200:
                    raise TrimtabError(f"the quiet server answers {status}: {text}")
                found[ask.key, header] = text
    return found
