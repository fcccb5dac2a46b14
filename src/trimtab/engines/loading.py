"""Loading a model by name: the built-in one, a folder, or one of the Hub; every failure in one clear line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from trimtab.errors import ModelError
from trimtab.prompts import template_digest

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.engines.vllm.engine import VllmEngine
    from trimtab.record import ModelIdentity

_NANO = {"nano": "nano-instruct", "nano-instruct": "nano-instruct", "nano-base": "nano-base"}
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@overload
def load(
    name: str | Path,
    *,
    engine: Literal["transformers"] = "transformers",
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: Any = None,
    quantization_config: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    decoder_blocks: str | None = None,
    allow_pickle: bool = False,
) -> TransformersEngine: ...


@overload
def load(
    name: str | Path,
    *,
    engine: Literal["vllm"],
    dtype: torch.dtype | str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    **options: Any,
) -> VllmEngine: ...


def load(
    name: str | Path,
    *,
    engine: Literal["transformers", "vllm"] = "transformers",
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: Any = None,
    quantization_config: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    decoder_blocks: str | None = None,
    allow_pickle: bool = False,
    **options: Any,
) -> TransformersEngine | VllmEngine:
    """Loads a causal language model and its tokenizer.

    Args:
        name: `"nano"` (or `"nano-instruct"`, `"nano-base"`), a folder, or the name of a model on the Hub.
        engine: What runs it. `"vllm"` starts vLLM; see `trimtab.VllmEngine`, which must be closed. It takes `dtype`,
            `revision` and `trust_remote_code` of what follows, and `options`.
        dtype: Of the weights, `torch.bfloat16` or `"bfloat16"`, or `"auto"` for what they were saved in. None is
            float32 on a CPU and `"auto"` elsewhere.
        device: Where to put it; None takes an accelerator if there is one. Not with `device_map`.
        device_map: How to spread it over devices, passed on to transformers (needs the package accelerate).
        quantization_config: Passed on to transformers.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run code that comes with the model.
        decoder_blocks: Where its decoder blocks are (`"model.layers"`), if they are not found.
        allow_pickle: Also load weights that are not safetensors. Unpickling can run code: only for models you
            trust.
        options: Of vLLM, for `engine="vllm"`; there are none for transformers.

    Raises:
        ModelError: If it can't be loaded; the message says why, and what to do.
    """
    if engine == "vllm":
        other = {
            "device": device,
            "device_map": device_map,
            "quantization_config": quantization_config,
            "decoder_blocks": decoder_blocks,
            "allow_pickle": allow_pickle or None,
        }
        given = [option for option, value in other.items() if value is not None]
        if given:
            raise ModelError(f"{' and '.join(given)}: not for engine='vllm', which has options of its own")
        from trimtab.engines.vllm.engine import VllmEngine

        return VllmEngine(
            name, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code, **options
        )
    if engine != "transformers":
        raise ModelError(f"there is no engine {engine!r}; 'transformers' or 'vllm'")
    if options:
        raise ModelError(
            f"there is no option {' or '.join(options)} for the transformers engine; options of vLLM need "
            "engine='vllm'"
        )
    from trimtab.engines.transformers import TransformersEngine

    source, model_id, built_in = source_of(name)
    if device is not None and device_map is not None:
        raise ModelError("give device or device_map, not both")
    spread = device_map is not None or quantization_config is not None
    target = None if spread and device is None else _device(device)
    reading: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if revision is not None:
        if built_in:
            raise ModelError(f"{name} comes with trimtab: it has no revisions")
        reading["revision"] = revision
    weights: dict[str, Any] = {
        "dtype": _dtype(dtype, target),
        "use_safetensors": None if allow_pickle else True,
    }
    if device_map is not None:
        weights["device_map"] = device_map
    if quantization_config is not None:
        weights["quantization_config"] = quantization_config

    # Files, the Hub, configs and tokenizers in Rust, and code that comes with models: these raise anything.
    try:
        with _quiet_bars() if built_in or not sys.stderr.isatty() else nullcontext():
            model, tokenizer = _from_pretrained(source, reading, weights, target)
        if target is not None and getattr(model, "hf_quantizer", None) is None:
            model = model.to(target)
    except Exception as error:
        raise ModelError(reason_of(str(name), source, error)) from error
    if model.can_generate():
        # `max_new_tokens` is always given; with both, transformers warns.
        model.generation_config.max_length = None
    return TransformersEngine(
        model,
        tokenizer,
        model_id=model_id,
        revision=_revision(source, built_in, revision),
        decoder_blocks=decoder_blocks,
    )


def model_identity(
    config: Any, tokenizer: Any, *, blocks: int, model_id: str | None = None, revision: str | None = None
) -> ModelIdentity:
    """Which model this is, the same for every engine that runs it.

    Args:
        config: Its config, as transformers reads it.
        tokenizer: Its tokenizer.
        blocks: How many decoder blocks it has.
        model_id: What to call it; None takes the name it was loaded from.
        revision: The commit of its repository; None takes what the config knows.
    """
    from trimtab.record import ModelIdentity

    return ModelIdentity(
        id=model_id or getattr(config, "_name_or_path", "") or config.model_type,
        revision=revision or getattr(config, "_commit_hash", None),
        architecture=config.model_type,
        blocks=blocks,
        width=int(config.get_text_config().hidden_size),
        chat_template=template_digest(tokenizer),
    )


def name_and_revision(name: str | Path, revision: str | None = None) -> tuple[str, str | None]:
    """What `load` calls a model, and which revision of it; for engines that load models themselves.

    Args:
        name: As for `load`. The folder of a built-in model counts as that model.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelError: If there is no such model.
    """
    source, model_id, built_in = source_of(name)
    return model_id, _revision(source, built_in, revision)


def source_of(name: str | Path) -> tuple[str, str, str | None]:
    """Where a model is.

    Args:
        name: As for `load`. The folder of a built-in model counts as that model.

    Returns:
        Where to load it from, what to call it, and its name if it is built in.

    Raises:
        ModelError: If there is no such model.
    """
    from trimtab import nano

    source, model_id = _source(name)
    known = model_id in nano.NAMES and Path(source).resolve() == nano.path(model_id).resolve()
    return source, model_id, model_id if known else None


def _source(name: str | Path) -> tuple[str, str]:
    text = str(name)
    if text in _NANO:
        from trimtab import nano

        weights = nano.path(_NANO[text])
        if not (weights / "model.safetensors").is_file():
            raise ModelError(
                f"the weights of {text} are missing from this installation ({weights}); install trimtab again, or "
                "make them with `python -m trimtab.nano.train`"
            )
        return str(weights), _NANO[text]
    folder = Path(text).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"the folder {text} holds no config.json; give the folder of a transformers model"
            )
        return str(folder), _folder_id(folder.resolve())
    if folder.exists():
        raise ModelError(f"{text} is a file; give the folder of a transformers model")
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(text):
        raise ModelError(f"there is no folder {text}; give an existing one, a model of the Hub, or nano")
    return text, text


def _folder_id(folder: Path) -> str:
    """The folder's name; for one in the Hub's cache, the name on the Hub."""
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/")
    return folder.name


def _revision(source: str, built_in: str | None, asked: str | None) -> str | None:
    if built_in is not None:
        from trimtab import nano

        return nano.revision(built_in)
    return None if Path(source).is_dir() else _commit(source, asked)


def _commit(name: str, revision: str | None) -> str | None:
    """The commit of what was just loaded from the Hub: its cache files snapshots under their commits."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(config).parent.name if isinstance(config, str) else None


def _device(device: torch.device | str | None) -> torch.device:
    if device is None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        wanted = torch.device(device)
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"the device {str(device)!r} can't be used here: {_first_line(error)}") from error
    return wanted


def _dtype(dtype: torch.dtype | str | None, target: torch.device | None) -> torch.dtype | str:
    if dtype is None:
        return torch.float32 if target is not None and target.type == "cpu" else "auto"
    if dtype == "auto" or isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, dtype.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ModelError(f"there is no dtype {dtype!r} for weights; float32, bfloat16, float16 or auto")
    return found


def _from_pretrained(
    source: str, options: dict[str, Any], weights: dict[str, Any], target: torch.device | None
) -> tuple[Any, Any]:
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoModelForMaskedLM,
        AutoTokenizer,
    )

    config = AutoConfig.from_pretrained(source, **options)
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"{config.model_type} is an encoder-decoder, not a causal language model")
    # Text that goes through a model for text and images is steered in its language model.
    remote = "AutoModelForCausalLM" in getattr(config, "auto_map", {})
    causal = remote or type(config) in AutoModelForCausalLM._model_mapping
    both = not causal and type(config) in AutoModelForImageTextToText._model_mapping
    # An encoder like BERT has a class for causal models too, but sees the tokens to come.
    encoder = (
        getattr(config, "is_decoder", True) is False and type(config) in AutoModelForMaskedLM._model_mapping
    )
    if encoder or not (causal or both):
        raise ValueError(f"{config.model_type} is not a causal language model")
    kind = AutoModelForImageTextToText if both else AutoModelForCausalLM
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    if target is not None and (
        "quantization_config" in weights or getattr(config, "quantization_config", None) is not None
    ):
        weights = {**weights, "device_map": target}  # some quantized models can't be moved later
    return kind.from_pretrained(source, **options, **weights), tokenizer


@contextmanager
def _quiet_bars() -> Iterator[None]:
    """No bars of transformers' own: for what loads in a moment, and in logs."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def reason_of(name: str, source: str, error: BaseException) -> str:
    """What went wrong and what to do, from an error of transformers and what caused it.

    Args:
        name: The model, as it was asked for.
        source: Where it was to be loaded from.
        error: What was raised.
    """
    from huggingface_hub import errors

    local = Path(source).is_dir()
    causes = list(_causes(error))
    kinds = [type(cause) for cause in causes]
    text = " ".join(str(cause) for cause in causes)

    def is_a(*wanted: type[BaseException]) -> bool:
        return any(issubclass(kind, wanted) for kind in kinds)

    if "trust_remote_code" in text:
        return f"{name} comes with code of its own; if you trust it, say trust_remote_code=True"
    if isinstance(error, ImportError):
        return f"{name} can't be loaded without another package: {_first_line(error)}"
    if local and "backend tokenizer" in text:
        return f"{name} holds no tokenizer (tokenizer.json); give the folder of a whole model"
    if not local and is_a(errors.GatedRepoError):
        return f"{name} is gated: accept its terms on its page on the Hub and log in with `hf auth login`"
    if not local and is_a(errors.RevisionNotFoundError):
        return f"{name} has no such revision on the Hub: {_first_line(error)}"
    if not local and is_a(errors.RepositoryNotFoundError, errors.HFValidationError):
        return f"there is no model {name} on the Hub (or it is private); a folder is written ./{name}"
    if "safetensors" in text and re.search(r"no file named|does not appear to have a file named", text):
        if local and not list(Path(source).glob("*.bin")):
            return f"{name} holds no weights (model.safetensors); give the folder of a whole model"
        return (
            f"{name} has no weights in safetensors; if you trust it, say allow_pickle=True to unpickle others"
        )
    unreachable = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError, TimeoutError)
    if not local and (is_a(*unreachable) or "couldn't connect" in text.lower()):
        return (
            f"the Hub can't be reached and {name} is not in its cache: check the network, give a folder, or use "
            "the built-in model nano"
        )
    return f"{name} can't be loaded: {_first_line(error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
