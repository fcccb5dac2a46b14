"""The hooks into vLLM. vLLM calls `register` in every process; without steering in its configuration nothing follows.

Wrapped are: where a configuration is made (what cannot be served is refused there), where a request is taken
(`InputProcessor`), where the blocks of the prefix cache get their keys, where a model is made
(`BaseModelLoader.create_model`: every architecture, vLLM's own, those of its backend for transformers and those of
other plug-ins), and, in workers of model runner V1 that steer, where the inputs of a step are prepared. Model runner V2
is told through the model's own `get_model_state_cls`. So that no answer is made of values that are not finite, also
where a runner gives the tokens of a step, and where a frontend that serves steering gets them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from trimtab.errors import ModelError, TrimtabError
from trimtab.vllm.prefix_cache import block_keys
from trimtab.vllm.settings import SteeringSettings

TESTED = "0.32"
"""The vLLM that the hooks were written for and tested with."""

HOOKS = (
    ("vllm.engine.arg_utils", "EngineArgs", "create_engine_config"),
    ("vllm.v1.engine.input_processor", "InputProcessor", "process_inputs"),
    # Of the keys of a block, the function that knows which tokens are in it, whoever imported the one that calls it.
    ("vllm.v1.core.kv_cache_utils", None, "_gen_prompt_embeds_extra_hash_keys"),
    ("vllm.model_executor.model_loader.base_loader", "BaseModelLoader", "create_model"),
)
SOUNDNESS_HOOKS = (
    ("vllm.v1.engine.output_processor", "OutputProcessor", "process_outputs"),
    ("vllm.v1.engine.async_llm", "AsyncLLM", "generate"),
)
V1_HOOKS = (
    ("vllm.v1.worker.gpu_model_runner", "GPUModelRunner", "_update_states"),
    ("vllm.v1.worker.gpu_model_runner", "GPUModelRunner", "_prepare_inputs"),
    ("vllm.v1.worker.gpu_model_runner", "GPUModelRunner", "sample_tokens"),
)
V2_HOOKS = (
    ("vllm.v1.worker.gpu.model_states", None, "resolve_model_state_cls"),
    ("vllm.v1.worker.gpu.model_runner", "GPUModelRunner", "sample_tokens"),
)
FIELDS = (
    ("vllm.v1.outputs", "ModelRunnerOutput", "num_nans_in_logits"),
    ("vllm.v1.engine", "EngineCoreOutput", "num_nans_in_logits"),
    ("vllm.v1.outputs", "AsyncModelRunnerOutput", "get_output"),
    ("vllm.exceptions", None, "GenerationError"),
)
"""Not wrapped, but written to or built on, where a step is unsound."""


def register() -> None:
    """Wraps what steering needs; vLLM's entry point `vllm.general_plugins`. Doing it again changes nothing."""
    wrappers = (_create_engine_config, _process_inputs, _block_keys, _create_model)
    for (module, owner, name), wrapper in zip(HOOKS, wrappers, strict=True):
        found = _find(module, owner, name)
        if found is not None:
            _wrap(found, name, wrapper)
    processor = _find("vllm.v1.engine.input_processor", "InputProcessor", "__init__")
    if processor is not None:
        _wrap(processor, "__init__", _make_processor)


def check_hooks(v2_runner: bool) -> None:
    """Refuses a vLLM that lacks what is hooked into, by the model runner it uses."""
    import vllm

    if not vllm.__version__.startswith(f"{TESTED}."):
        from vllm.logger import init_logger

        init_logger("vllm.trimtab").warning_once(
            "trimtab was tested with vLLM %s, and this is %s; what it hooks into is there, but may mean something else",
            TESTED,
            vllm.__version__,
        )
    for module, owner, name in (*HOOKS, *SOUNDNESS_HOOKS, *(V2_HOOKS if v2_runner else V1_HOOKS), *FIELDS):
        if _find(module, owner, name) is None:
            place = ".".join(part for part in (module, owner, name) if part)
            raise ModelError(
                f"steering cannot be served by vLLM {vllm.__version__}: it has no {place}; install vLLM {TESTED}, "
                "which trimtab was tested with"
            )


def _find(module: str, owner: str | None, name: str) -> Any | None:
    """What has the attribute to be wrapped; None if there is no such thing in this vLLM."""
    try:
        found: Any = import_module(module)
    except Exception:  # noqa: BLE001 - whatever ails it must not keep a vLLM that steers nothing from starting
        return None
    found = found if owner is None else getattr(found, owner, None)
    return found if hasattr(found, name) else None


def _wrap(owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    if not getattr(original, "trimtab", False):
        replacement: Any = functools.wraps(original)(wrapper(original))
        replacement.trimtab = True
        setattr(owner, name, replacement)


def _create_engine_config(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_engine_config(self: Any, *args: Any, **kwargs: Any) -> Any:
        vllm_config = original(self, *args, **kwargs)
        settings = SteeringSettings.from_vllm(vllm_config)
        if settings is not None:
            _check(vllm_config)
            settings.stamp(vllm_config)
        return vllm_config

    return create_engine_config


def _make_processor(original: Callable[..., Any]) -> Callable[..., Any]:
    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        from trimtab.vllm import soundness
        from trimtab.vllm.frontend.frontend import Frontend
        from trimtab.vllm.frontend.refusals import refuse_beams

        original(self, *args, **kwargs)
        # Now, so that a damaged steering in the folder is told at the start and not to the first client.
        if Frontend.of(self) is not None:
            refuse_beams()
            for (module, owner, name), wrapper in zip(
                SOUNDNESS_HOOKS, (soundness.process_outputs, soundness.generate), strict=True
            ):
                _wrap(_find(module, owner, name), name, wrapper)

    return make


def _process_inputs(original: Callable[..., Any]) -> Callable[..., Any]:
    def process_inputs(
        self: Any, request_id: str, prompt: Any, params: Any, *args: Any, **kwargs: Any
    ) -> Any:
        from trimtab.vllm.frontend.frontend import Frontend, refuse_unserved

        with _errors_of_the_client():
            frontend = Frontend.of(self)
            if frontend is None:
                refuse_unserved(params)
                return original(self, request_id, prompt, params, *args, **kwargs)
            plan = frontend.plan(params)
        request = original(self, request_id, prompt, params, *args, **kwargs)
        with _errors_of_the_client():
            frontend.attach(request, plan)
        return request

    return process_inputs


@contextmanager
def _errors_of_the_client() -> Iterator[None]:
    """Ours become the one error of vLLM's that is told to the client; any other would be the server's."""
    from vllm.exceptions import VLLMValidationError

    try:
        yield
    except TrimtabError as error:
        raise VLLMValidationError(str(error)) from error


def _block_keys(original: Callable[..., Any]) -> Callable[..., Any]:
    def keys(request: Any, start: int, end: int) -> list[Any]:
        return [*original(request, start, end), *block_keys(request, start, end)]

    return keys


def _create_model(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_model(self: Any, vllm_config: Any, model_config: Any, *args: Any, **kwargs: Any) -> Any:
        settings = None if _is_draft(vllm_config, model_config) else SteeringSettings.from_vllm(vllm_config)
        if settings is None:
            return original(self, vllm_config, model_config, *args, **kwargs)
        _check(vllm_config)
        settings.stamp(vllm_config)
        model = original(self, vllm_config, model_config, *args, **kwargs)
        _install(model, vllm_config, settings)
        return model

    return create_model


def _is_draft(vllm_config: Any, model_config: Any) -> bool:
    """Whether a model only drafts tokens for another to verify: what it drafts is never seen unverified."""
    speculative = vllm_config.speculative_config
    if model_config.runner_type == "draft":
        return True
    return (
        speculative is not None
        and model_config is speculative.draft_model_config
        and model_config is not speculative.target_model_config
    )


def _check(vllm_config: Any) -> None:
    from trimtab.vllm.frontend.refusals import check_config

    check_config(vllm_config)
    check_hooks(bool(vllm_config.use_v2_model_runner))


def _install(model: Any, vllm_config: Any, settings: SteeringSettings) -> None:
    from trimtab.vllm.worker.judging import watch
    from trimtab.vllm.worker.layers import install
    from trimtab.vllm.worker.runners import model_state_class
    from trimtab.vllm.worker.worker import hold_folder

    state = install(model, vllm_config, settings)
    watch(model, state.judge)
    if settings.steerings is not None:
        # vLLM makes models under the device and the dtype of the weights; a steering is read as everywhere.
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            with torch.device("cpu"):
                hold_folder(state, settings.steerings)
        finally:
            torch.set_default_dtype(dtype)
    if not vllm_config.use_v2_model_runner:
        from vllm.v1.worker.gpu_model_runner import GPUModelRunner

        from trimtab.vllm.worker import seeds

        wrappers = (_update_states, _prepare_inputs, _sample_tokens)
        for (_, _, name), wrapper in zip(V1_HOOKS, wrappers, strict=True):
            _wrap(GPUModelRunner, name, wrapper)
        seeds.mend(GPUModelRunner)
        return
    from vllm.v1.worker.gpu.model_runner import GPUModelRunner as GPUModelRunnerV2

    _wrap(GPUModelRunnerV2, "sample_tokens", _sample_tokens)

    def get_model_state_cls() -> type:
        # vLLM asks the model first. What would have been without us is what it finds when we are not there.
        own = model.__dict__.pop("get_model_state_cls")
        try:
            return model_state_class(model, vllm_config)
        finally:
            model.__dict__["get_model_state_cls"] = own

    model.__dict__["get_model_state_cls"] = get_model_state_cls


def _update_states(original: Callable[..., Any]) -> Callable[..., Any]:
    from trimtab.vllm.worker.runners import after_v1_update

    def _update_states(self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, scheduler_output, *args, **kwargs)
        after_v1_update(self, scheduler_output)
        return result

    return _update_states


def _prepare_inputs(original: Callable[..., Any]) -> Callable[..., Any]:
    from trimtab.vllm.worker.runners import after_v1_inputs, before_v1_step

    def _prepare_inputs(
        self: Any, scheduler_output: Any, num_scheduled_tokens: Any, *args: Any, **kwargs: Any
    ) -> Any:
        before_v1_step(self, num_scheduled_tokens, scheduler_output.scheduled_spec_decode_tokens)
        result = original(self, scheduler_output, num_scheduled_tokens, *args, **kwargs)
        after_v1_inputs(self, num_scheduled_tokens)
        return result

    return _prepare_inputs


def _sample_tokens(original: Callable[..., Any]) -> Callable[..., Any]:
    from trimtab.vllm.worker.runners import after_step

    def sample_tokens(self: Any, *args: Any, **kwargs: Any) -> Any:
        return after_step(self, original(self, *args, **kwargs))

    return sample_tokens
