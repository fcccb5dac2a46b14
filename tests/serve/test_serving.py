from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.serve.fakes import Engines, Worker, apart, library, serving, steering

from trimtab.errors import ModelError, SteeringError
from trimtab.serve.refusal import RefusedError
from trimtab.serve.serving import Serving

JSON, OTHER = steering(0), steering(1)


def run(scenario: Callable[[Serving, Engines], Awaitable[Any]], **steerings: Any) -> Any:
    """Play a scenario on a server whose workers hold what is loaded at the start."""

    async def played() -> Any:
        engines = Engines()
        server = serving(library(**steerings), engines)
        await server.begin()
        try:
            return await asyncio.wait_for(scenario(server, engines), 10)
        finally:
            await server.end()

    return asyncio.run(played())


async def settle() -> None:
    """Let everything run that can."""
    await asyncio.sleep(0.15)


def forgotten(engines: Engines, digest: str) -> list[bool]:
    return [("forget", digest) in worker.calls for worker in engines.all]


def test_the_beginning_gives_every_worker_what_it_lacks() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        assert all(set(worker.held) == {JSON.digest()} for worker in engines.all)
        assert server.metrics.steerings == 1  # type: ignore[attr-defined]

    run(scenario, json=JSON)


def test_the_beginning_sends_nothing_that_all_have() -> None:
    async def scenario() -> None:
        engines = Engines()
        for worker in engines.all:
            worker.held[JSON.digest()] = ()
        server = serving(library(json=JSON), engines)
        await server.begin()
        await server.end()
        assert [worker.calls for worker in engines.all] == [[]] * 4

    asyncio.run(scenario())


def test_a_worker_of_another_version_is_refused() -> None:
    async def scenario() -> None:
        engines = Engines([[Worker()], [Worker(version="0.0.9")]])
        with pytest.raises(ModelError, match=r"has trimtab 0\.0\.9"):
            await serving(library(), engines).begin()

    asyncio.run(scenario())


def test_a_steering_is_named_only_after_every_worker_holds_it() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        named = []
        engines.watch = lambda method: named.append(server.library.names())
        entry = await server.load(apart(server, "json", JSON))
        assert named == [[]]
        assert server.library.names() == ["json"]
        assert all(entry.digest in worker.held for worker in engines.all)
        assert server.metrics.steerings == 1  # type: ignore[attr-defined]

    run(scenario)


def test_a_worker_that_fails_leaves_nothing_named_and_nothing_held() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        server.patience = 0.05
        engines.workers[1][1].fails = True
        with pytest.raises(RefusedError, match="cannot take the steering 'json'") as caught:
            await server.load(apart(server, "json", JSON))
        assert (caught.value.status, server.library.names()) == (503, [])
        assert [JSON.digest() in worker.held for worker in engines.all] == [True, True, True, False]
        await settle()
        engines.workers[1][1].fails = False
        await settle()
        assert [dict(worker.held) for worker in engines.all] == [{}] * 4
        await server.load(apart(server, "json", JSON))
        await settle()
        assert server.library.names() == ["json"]
        assert all(JSON.digest() in worker.held for worker in engines.all)

    run(scenario)


def test_a_worker_that_fails_to_forget_is_asked_again() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        server.patience = 0.2
        engines.workers[1][0].fails = True
        await server.unload("json")
        await settle()
        assert not all(forgotten(engines, JSON.digest()))
        engines.workers[1][0].fails = False
        await settle()
        await settle()
        assert all(forgotten(engines, JSON.digest()))

    run(scenario, json=JSON)


def test_what_is_loaded_again_before_a_worker_forgot_it_stays() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        server.patience = 0.1
        engines.workers[0][0].fails = True
        await server.unload("json")
        await settle()
        engines.workers[0][0].fails = False
        await server.load(apart(server, "json", JSON))
        await settle()
        assert all(JSON.digest() in worker.held for worker in engines.all)
        assert not any(forgotten(engines, JSON.digest()))

    run(scenario, json=JSON)


def test_the_same_again_changes_nothing_and_another_is_a_conflict() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        before = [list(worker.calls) for worker in engines.all]
        assert (await server.load(apart(server, "json", JSON))).digest == JSON.digest()
        with pytest.raises(RefusedError, match="another steering named 'json'") as caught:
            await server.load(apart(server, "json", OTHER))
        assert caught.value.status == 409
        assert [worker.calls for worker in engines.all] == before

    run(scenario, json=JSON)


def test_replacing_forgets_the_old_one_later() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        with server.in_flight.request():
            await server.load(apart(server, "json", OTHER), replace=True)
            assert server.entry("json").digest == OTHER.digest()
            await settle()
            assert server.library.get(JSON.digest()).digest == JSON.digest()
            assert not any(forgotten(engines, JSON.digest()))
        await settle()
        assert all(forgotten(engines, JSON.digest()))
        with pytest.raises(SteeringError):
            server.library.get(JSON.digest())

    run(scenario, json=JSON)


def test_unloading_waits_for_what_was_promised_and_for_nothing_later() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        with server.in_flight.request():
            await server.unload("json")
            assert server.library.names() == []
            with pytest.raises(RefusedError):
                server.entry("json")
            await settle()
            assert not any(forgotten(engines, JSON.digest()))
            later = server.in_flight.request()
            later.__enter__()
        await settle()
        # The later request came before the digest could no longer be resolved, so it is waited for as well.
        assert not any(forgotten(engines, JSON.digest()))
        with pytest.raises(SteeringError):
            server.library.get(JSON.digest())
        with server.in_flight.request():  # this one came after
            later.__exit__(None, None, None)
            await settle()
            assert all(forgotten(engines, JSON.digest()))

    run(scenario, json=JSON)


def test_unloading_waits_for_the_engine_after_a_hang_up() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        engines.requests[:] = ["one", "two"]
        await server.unload("json")
        await settle()
        engines.requests[:] = ["two", "three"]
        await settle()
        assert not any(forgotten(engines, JSON.digest()))
        engines.requests[:] = ["three"]
        await settle()
        engines.requests.clear()
        await settle()
        assert all(forgotten(engines, JSON.digest()))

    run(scenario, json=JSON)


def test_unloading_what_is_not_there() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        for name in ("nope", JSON.digest()):
            with pytest.raises(RefusedError) as caught:
                await server.unload(name)
            assert caught.value.status == 404
        assert server.library.names() == ["json"]

    run(scenario, json=JSON)


def test_loaded_again_while_it_leaves_it_stays() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        with server.in_flight.request():
            await server.unload("json")
            await settle()
            await server.load(apart(server, "json", JSON))
        await settle()
        assert not any(forgotten(engines, JSON.digest()))
        assert server.entry("json").digest == JSON.digest()

    run(scenario, json=JSON)


def test_unloaded_loaded_and_unloaded_again_it_waits_for_the_later_requests() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        early = server.in_flight.request()
        early.__enter__()
        await server.unload("json")
        await settle()
        await server.load(apart(server, "json", JSON))
        with server.in_flight.request():
            await server.unload("json")
            early.__exit__(None, None, None)  # what the first unloading waited for
            await settle()
            assert not any(forgotten(engines, JSON.digest()))
            assert server.library.get(JSON.digest())
        await settle()
        assert [worker.calls.count(("forget", JSON.digest())) for worker in engines.all] == [1] * 4

    run(scenario, json=JSON)


def test_a_digest_with_two_names_stays_for_the_other() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        await server.unload("json")
        await settle()
        assert not any(forgotten(engines, JSON.digest()))
        await server.unload("same")
        await settle()
        assert all(forgotten(engines, JSON.digest()))

    run(scenario, json=JSON, same=JSON)


def test_a_full_library_refuses_and_the_workers_forget() -> None:
    async def scenario(server: Serving, engines: Engines) -> None:
        with pytest.raises(SteeringError, match="room for 8"):
            await server.load(apart(server, "more", steering(50)))
        await settle()
        assert all(forgotten(engines, steering(50).digest()))
        assert len(server.library.names()) == 8

    run(scenario, **{f"s{number}": steering(number) for number in range(8)})


def test_many_at_once_end_as_they_should() -> None:
    """Loads, unloads and requests in every order: the workers hold what can be named, and nothing else."""

    async def scenario(server: Serving, engines: Engines) -> None:
        async def flicker(name: str, one: Any) -> None:
            for _ in range(10):
                await server.load(apart(server, name, one))
                with server.in_flight.request():
                    await asyncio.sleep(0.001)
                    if name != "s0":
                        await server.unload(name)

        await asyncio.gather(*(flicker(f"s{number}", steering(number)) for number in range(4)))
        await settle()
        await settle()
        assert server.library.names() == ["s0"]
        assert all(set(worker.held) == {steering(0).digest()} for worker in engines.all)

    run(scenario)
