"""The plugin of vLLM's server (`vllm.endpoint_plugins`) by which it serves steerings.

It puts the routes and the middleware in: behind vLLM's check of the API key where vLLM has one. There are paths without
(`/tokenize`, `/invocations`); the middleware tells no names there.
"""

from __future__ import annotations

import asyncio
import logging
import os
from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import State

from trimtab.errors import ModelError
from trimtab.serve.metrics import Metrics
from trimtab.serve.permission import may_change
from trimtab.serve.routes import attach
from trimtab.serve.serving import Serving
from trimtab.steering.edits import Edit
from trimtab.vllm import WORKER
from trimtab.vllm.frontend.frontend import Frontend
from trimtab.vllm.packing import pack_edits
from trimtab.vllm.server.interface import INTERFACE
from trimtab.vllm.server.launch import AUTO, UPLOAD
from trimtab.vllm.server.options import check_environment

_log = logging.getLogger("vllm.trimtab")  # below vLLM's own logger, which has the handlers


class SteeringEndpoints:
    """What vLLM asks of an endpoint plugin; named in `VLLM_PLUGINS` by `trimtab serve`."""

    name = "trimtab"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Add the routes to vLLM's application, and the middleware inside of vLLM's own."""
        attach(app)

    async def init_state(self, engine_client: Any, state: State, args: Namespace) -> None:
        """Reach the workers, and begin to serve, by vLLM's `EngineClient`, the app's state and vLLM's command line.

        Raises:
            ModelError: Steering cannot be served this way; the message says why.
        """
        state.trimtab = None
        frontend = None if engine_client is None else Frontend.of(engine_client.input_processor)
        if frontend is None:
            if engine_client is not None and UPLOAD in os.environ:
                raise ModelError(
                    "vLLM has no steering in its --additional-config: an option that `trimtab serve` was given took it "
                    "out; leave that option out"
                )
            return
        _check(engine_client.vllm_config, args)
        # As vLLM reads them: with an empty key it asks for none.
        has_key = any(getattr(args, "api_key", None) or [os.environ.get("VLLM_API_KEY")])
        serving = Serving(
            frontend.library,
            VllmBackend(engine_client, state.openai_serving_models),
            metrics=Metrics(),
            may_change=_may_change(args, has_key),
            has_key=has_key,
            origins=set(getattr(args, "allowed_origins", ())) - {"*"},
            folder=frontend.settings.steerings,
            log=_log,
        )
        await serving.begin()
        state.trimtab = serving
        _log.info(
            "steering is on: %s; clients may %sload and unload",
            ", ".join(serving.library.names()) or "none loaded yet",
            "" if serving.may_change else "not ",
        )


class VllmBackend:
    """vLLM's server, as `trimtab.serve.backend.Backend` has it, by its `EngineClient` and its `OpenAIServingModels`."""

    interface = INTERFACE

    def __init__(self, engine_client: Any, models: Any) -> None:
        self._client = engine_client
        self._models = models

    @property
    def name(self) -> str:
        """What clients call the model."""
        return str(self._models.base_model_paths[0].name)

    def served(self) -> Collection[str]:
        """The names of the model, and of its LoRA adapters."""
        return {*(path.name for path in self._models.base_model_paths), *self._models.lora_requests}

    def running(self) -> Collection[str]:
        """The ids of the requests that the engine has not finished."""
        return list(self._client.output_processor.request_states)

    async def models(self) -> dict[str, Any]:
        """VLLM's own list of models."""
        found: dict[str, Any] = (await self._models.show_available_models()).model_dump()
        return found

    async def hold(self, digest: str, edits: Sequence[Edit]) -> None:
        """Give every worker a steering."""
        await self._call("trimtab_hold", digest, await asyncio.to_thread(pack_edits, edits))

    async def forget(self, digest: str) -> None:
        """Let every worker drop a steering."""
        await self._call("trimtab_forget", digest)

    async def statuses(self) -> Sequence[Sequence[Mapping[str, Any]]]:
        """What `trimtab_status` says, by engine and worker."""
        return await self._call("trimtab_status")

    async def _call(self, method: str, *arguments: Any) -> Sequence[Sequence[Any]]:
        # collective_rpc asks every engine as well, and then gives the answers of the first alone.
        results: Sequence[Sequence[Any]] = await self._client.engine_core.call_utility_all_async(
            "collective_rpc", method, None, arguments, None
        )
        return results


def _may_change(args: Namespace, has_key: bool) -> bool:
    """Whether clients may load and unload, by what vLLM made of its command line."""
    setting = os.environ.get(UPLOAD)
    if setting != AUTO:
        return setting == "1"
    return may_change(getattr(args, "host", None), has_key=has_key, uds=getattr(args, "uds", None))


def _check(vllm_config: Any, args: Namespace) -> None:
    check_environment(os.environ)
    parallel = vllm_config.parallel_config
    extension = parallel.worker_extension_cls
    if extension != WORKER:
        raise ModelError(
            f"steerings reach the workers by --worker-extension-cls {WORKER}, and it is {extension or 'not given'}; "
            "start with `trimtab serve`"
        )
    count = max(getattr(args, "api_server_count", None) or 1, getattr(parallel, "_api_process_count", 1))
    if count > 1:
        raise ModelError(
            f"there are {count} API server processes, and each would have steerings of its own; give "
            "--api-server-count 1"
        )
