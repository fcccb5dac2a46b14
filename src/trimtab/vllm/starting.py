"""Starting vLLM for an engine, and ending it: every failure in one clear line."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.engines.loading import settle_template
from trimtab.engines.names import causes_of, check_reachable, reason_of, source_of
from trimtab.engines.precision import dtype_named, dtype_on_cpu, saved_dtype
from trimtab.engines.unpacking import unpacked
from trimtab.errors import ModelError, TrimtabError
from trimtab.vllm import WORKER, need_vllm
from trimtab.vllm.settings import SteeringSettings, cache_bytes_on_cpu

if TYPE_CHECKING:
    from trimtab.vllm.frontend.frontend import Frontend

_PATIENCE = 30.0
"""Seconds that processes get to end by themselves; vLLM's own 5 are short on a busy machine, and it kills them then."""
_FORBIDDEN = {
    "model": "it is the first argument",
    "worker_extension_cls": "trimtab's own is there",
    "skip_tokenizer_init": "prompts need the tokenizer",
    "device": "vLLM chooses it; CUDA_VISIBLE_DEVICES says which there are",
    "device_map": "tensor_parallel_size and pipeline_parallel_size spread a model",
    "quantization_config": "vLLM's own is quantization",
    "decoder_blocks": "vLLM knows them",
    "allow_pickle": "it loads safetensors only",
}


@dataclass(frozen=True)
class Started:
    """What runs a model: a `vllm.LLM`, what takes requests for it, and what transformers has of the model."""

    llm: Any
    frontend: Frontend
    tokenizer: Any
    generation: Any


def check_installed() -> None:
    """Refuses to go on where vLLM is not installed, or is told to leave trimtab out."""
    need_vllm("the vllm engine")
    plugins = os.environ.get("VLLM_PLUGINS")
    if plugins is not None and "trimtab" not in plugins.split(","):
        raise ModelError(
            f"VLLM_PLUGINS={plugins} keeps vLLM from loading trimtab; add trimtab to it, or unset it"
        )


def start(
    model: str | Path,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    dtype: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    gguf_file: str | None = None,
) -> Started:
    """Starts vLLM with steering; `settings` are the fields of `SteeringSettings`, the rest is as `VllmEngine` takes it.

    Raises:
        ModelError: It cannot be; the message says why.
    """
    for name, reason in _FORBIDDEN.items():
        if name in options:
            raise ModelError(f"the vllm engine takes no option {name}: {reason}")
    if (bits := options.get("quantization")) in ("4bit", "8bit"):
        raise ModelError(
            f"the vllm engine has no quantization {bits!r}, but vLLM's own: fp8, awq, bitsandbytes, ..."
        )
    check_installed()
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ModelError(
            "vllm starts processes that read this script anew: put what it does under `if __name__ == '__main__':`"
        )
    source = source_of(model, gguf_file)
    if source.gguf_file is not None:  # which vLLM does not read with steering
        source, revision = unpacked(source, dtype_named(dtype), revision), None
    if source.built_in and revision is not None:
        raise ModelError(f"{model} comes with trimtab: it has no revisions")
    check_reachable(str(model), source, revision)
    additional = {**options.get("additional_config", {}), "trimtab": SteeringSettings(**settings).to_dict()}
    loading: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        from transformers import AutoConfig, AutoTokenizer

        config = AutoConfig.from_pretrained(source.place, **loading)
        tokenizer = AutoTokenizer.from_pretrained(source.place, **loading)
        generation = _generation(source.place, config, loading)
    except Exception as error:
        raise ModelError(reason_of(str(model), source, error)) from error
    settle_template(tokenizer, source.model_id, settings.get("template_options"))
    llm = _llm(
        source.model_id,
        {
            "load_format": "safetensors",  # like the other engine: unpickling can run code
            **_cache(options, built_in=bool(source.built_in)),
            **options,
            **loading,
            "model": source.place,
            "tokenizer": source.place,
            "tokenizer_revision": revision,
            "dtype": _dtype(dtype, config),
            "additional_config": additional,
            "worker_extension_cls": WORKER,
        },
    )
    try:
        return Started(llm, _frontend(llm), tokenizer, generation)
    except BaseException:
        shut_down(llm)
        raise


def shut_down(llm: Any) -> None:
    """Ends the processes of a `vllm.LLM`, and waits until they are gone."""
    import psutil  # type: ignore[import-untyped]

    core = llm.llm_engine.engine_core
    manager = getattr(getattr(core, "resources", None), "engine_manager", None)
    processes = []
    for process in getattr(manager, "processes", ()):
        with suppress(psutil.NoSuchProcess):
            own = psutil.Process(process.pid)
            processes += [own, *own.children(recursive=True)]
    core.shutdown(timeout=_PATIENCE)
    llm.llm_engine.renderer.shutdown()
    for process in psutil.wait_procs(processes, timeout=_PATIENCE)[1]:
        process.kill()
    reader = getattr(core, "output_queue_thread", None)
    if reader is not None:  # vLLM leaves the context of its sockets to the garbage collector, which complains
        reader.join(_PATIENCE)
        if not reader.is_alive():
            core.ctx.destroy(linger=0)
    if manager is None:  # vLLM ran in this process, and leaves its groups behind
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        cleanup_dist_env_and_memory()


def _llm(model: str, options: dict[str, Any]) -> Any:
    from vllm import LLM

    try:
        return LLM(**options)
    except TypeError as error:
        raise ModelError(f"vllm does not take these options: {error}") from error
    except Exception as error:
        if isinstance(error, TrimtabError):
            raise
        cause = next((one for one in causes_of(error) if isinstance(one, TrimtabError)), None)
        if cause is not None:
            raise ModelError(str(cause)) from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:3]) or type(error).__name__
        raise ModelError(f"vllm cannot run {model}: {reason}") from error


def _frontend(llm: Any) -> Frontend:
    from trimtab.vllm.frontend.frontend import Frontend

    frontend = Frontend.of(llm.llm_engine.input_processor)
    installed = llm.collective_rpc("trimtab_status")
    if frontend is None or not all(installed):
        raise ModelError(
            "vllm runs without trimtab's plug-in; install trimtab where vLLM's processes run, not only beside it"
        )
    return frontend


def _cache(options: Mapping[str, Any], *, built_in: bool) -> dict[str, int]:
    from vllm.platforms import current_platform

    size = cache_bytes_on_cpu(options, os.environ, built_in=built_in) if current_platform.is_cpu() else None
    return {} if size is None else {"kv_cache_memory_bytes": size}


def _dtype(dtype: Any, config: Any) -> str:
    """The name of a dtype for vLLM, whose own `auto` would make float16 of float32."""
    if dtype is None:
        from vllm.platforms import current_platform

        saved = saved_dtype(config)
        on_cpu = current_platform.is_cpu()
        dtype = dtype_on_cpu(saved, config.get_text_config().hidden_size) if on_cpu else saved or "auto"
    return str(dtype).removeprefix("torch.")


def _generation(source: str, config: Any, loading: Mapping[str, Any]) -> Any:
    """The generation settings that transformers would use: of a file of their own, else of the config."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(source, revision=loading["revision"])
    except OSError:
        return GenerationConfig.from_model_config(config)
