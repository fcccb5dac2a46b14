"""Loading a model by name: the built-in one, a folder, one of the Hub, a GGUF file; every failure in one clear line."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from trimtab import arguments
from trimtab.engines import declared, gguf, precision, registry, whole
from trimtab.engines import quantization as quantized
from trimtab.engines.base import Engine
from trimtab.engines.names import Source, check_reachable, first_line, reason_of, revision_of, source_of
from trimtab.engines.wrapping import described
from trimtab.errors import ModelError
from trimtab.files import json_value
from trimtab.steering.templates import has_template, leaves_out_user, set_options
from trimtab.thoughts import ThoughtFormat, named

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine


_LONGER = "sequence-length-is-longer-than-the-specified-maximum"
"""What transformers would warn of, once."""
_CHATS = re.compile(r"(?i)(?<![a-z])(instruct|chat|it|sft|dpo|assistant)(?![a-z])")
"""In the names of models that were trained to chat."""


@overload
def load(
    name: str | Path,
    *,
    engine: Literal["transformers"] = "transformers",
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: Any = None,
    quantization: quantized.Quantization | str | None = None,
    quantization_config: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    decoder_blocks: str | None = None,
    allow_pickle: bool = False,
    gguf_file: str | None = None,
    template_options: Mapping[str, Any] | None = None,
    thoughts: ThoughtFormat | str | None = None,
) -> TransformersEngine: ...


@overload
def load(name: str | Path, *, engine: str, **options: Any) -> Engine: ...


def load(name: str | Path, *, engine: str = registry.DEFAULT, **options: Any) -> Engine:
    """Loads a causal language model and its tokenizer.

    Args:
        name: `"nano"` (or `"nano-instruct"`, `"nano-base"`), a folder, the name of a model on the Hub, or a GGUF file;
            one on the Hub is `"owner/name/file.gguf"`.
        engine: What runs it; `trimtab.engines.names_of_engines()` lists what there is. `"vllm"` starts vLLM, which must
            be closed.
        options: Of the engine. All take `dtype`, `revision` and `trust_remote_code`; for the default one, all are:

            - `dtype`: of the weights, `torch.bfloat16` or `"bfloat16"`, or `"auto"` for what they were saved in. None
              is `"auto"` on a GPU; on a CPU it is bfloat16 for what was saved in half precision or quantised if the
              processor is faster in it (measured, for models that are not narrow), and float32 else.
            - `device`: where to put it; None takes an accelerator if there is one. Not with `device_map`.
            - `device_map`: how to spread it over devices, passed on to transformers (needs the package accelerate).
            - `quantization`: `"8bit"` or `"4bit"`: hold the weights in so many bits (the extra `quantization`).
            - `quantization_config`: passed on to transformers, for any other kind.
            - `revision`: branch, tag or commit on the Hub.
            - `trust_remote_code`: run code that comes with the model.
            - `decoder_blocks`: where its decoder blocks are (`"model.layers"`), if they are not found.
            - `allow_pickle`: also load weights that are not safetensors. Unpickling can run code: only for models you
              trust.
            - `gguf_file`: the GGUF file in the folder, or the repository on the Hub, to read the model from.
            - `template_options`: variables of the chat template, `{"enable_thinking": False}` say; they count in the
              model's identity.
            - `thoughts`: how the model marks what it thinks before it answers: a format or its name
              (`trimtab.thoughts`), or its marks: `"<ponder>...</ponder>"`. None takes the
              one that it is known by; `"plain"` tells nothing apart.

    Raises:
        ModelError: If it can't be loaded; the message says why, and what to do.
    """
    if not isinstance(name, str | Path):
        raise ModelError(
            f"load takes a name, a folder or a GGUF file, not {described(name)}; what is loaded already is taken "
            "wherever a model is, as it is or as (model, tokenizer)"
        )
    opener = registry.find(engine)
    takes = signature(opener).parameters.values()
    known = [one.name for one in takes if one.kind is one.KEYWORD_ONLY]
    unknown = [option for option in options if option not in known]
    if unknown and not any(one.kind is one.VAR_KEYWORD for one in takes):
        raise ModelError(
            f"there is no option {' or '.join(unknown)} for the {engine} engine, which takes {', '.join(known)}"
        )
    return opener(name, **options)


def load_transformers(
    name: str | Path,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: Any = None,
    quantization: quantized.Quantization | str | None = None,
    quantization_config: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    decoder_blocks: str | None = None,
    allow_pickle: bool = False,
    gguf_file: str | None = None,
    template_options: Mapping[str, Any] | None = None,
    thoughts: ThoughtFormat | str | None = None,
) -> TransformersEngine:
    """The default engine: `load` says what its options are."""
    from trimtab.engines.transformers import TransformersEngine

    for option, value in (
        ("decoder_blocks", decoder_blocks),
        ("gguf_file", gguf_file),
        ("revision", revision),
    ):
        if value is not None:
            arguments.text(value, option, ModelError)
    arguments.flag(trust_remote_code, "trust_remote_code", ModelError)
    arguments.flag(allow_pickle, "allow_pickle", ModelError)
    thoughts = named(thoughts)
    source = source_of(name, gguf_file)
    if device is not None and device_map is not None:
        raise ModelError("give device or device_map, not both")
    if quantization is not None and quantization_config is not None:
        raise ModelError("give quantization or quantization_config, not both")
    spread = device_map is not None or quantization_config is not None
    target = None if spread and device is None else _device(device)
    runs_on = (target or _device(None)).type
    reading: dict[str, Any] = {"trust_remote_code": trust_remote_code, **source.reading}
    if revision is not None:
        if source.built_in:
            raise ModelError(f"{name} comes with trimtab: it has no revisions")
        reading["revision"] = revision
    wanted = precision.dtype_named(dtype)
    weights: dict[str, Any] = {"use_safetensors": None if allow_pickle else True}
    if device_map is not None:
        _check_spread()
        weights["device_map"] = device_map
    if quantization is not None:
        computed = wanted if isinstance(wanted, torch.dtype) else torch.bfloat16
        quantization_config = quantized.quantization_config(quantization, computed, on_cuda=runs_on == "cuda")
    if quantization_config is not None:
        weights["quantization_config"] = quantization_config
    if source.gguf_file is not None:
        gguf.check_installed(str(name))
        if quantization_config is not None:
            raise ModelError(
                f"{name} is a GGUF file, whose weights are taken out of their blocks; leave the quantization out, or "
                "take the model's own weights"
            )

    # Files, the Hub, configs and tokenizers in Rust, and code that comes with models: these raise anything.
    try:
        with (
            quiet_bars() if source.built_in or not sys.stderr.isatty() else nullcontext(),
            whole.without_report(),
            nullcontext() if source.gguf_file is None else gguf.read_once(),
            nullcontext() if source.gguf_file is None else gguf.all_types(),
        ):
            check_reachable(str(name), source, revision)
            model, tokenizer = _from_pretrained(source, reading, weights, wanted, target, runs_on)
        if target is not None and getattr(model, "hf_quantizer", None) is None:
            model = model.to(target)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(reason_of(str(name), source, error)) from error
    settle_template(tokenizer, source.model_id, template_options)
    if model.can_generate():
        # `max_new_tokens` is always given; with both, transformers warns.
        model.generation_config.max_length = None
        declared.check_generation(source.model_id, model.generation_config)
    return TransformersEngine(
        model,
        tokenizer,
        model_id=source.model_id,
        revision=revision_of(source, revision),
        decoder_blocks=decoder_blocks,
        thoughts=thoughts,
    )


def _check_spread() -> None:
    from transformers.utils import is_accelerate_available

    if not is_accelerate_available():
        raise ModelError("device_map takes the package accelerate: pip install 'trimtab[quantization]'")


def _device(device: torch.device | str | None) -> torch.device:
    if device is None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        if not isinstance(device, torch.device):
            arguments.text(device, "device (a torch.device, or its name such as cuda:0)", ModelError)
        wanted = torch.device(device)
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"the device {str(device)!r} can't be used here: {first_line(error)}") from error
    return wanted


def _from_pretrained(
    source: Source,
    options: dict[str, Any],
    weights: dict[str, Any],
    dtype: torch.dtype | str | None,
    target: torch.device | None,
    runs_on: str,
) -> tuple[Any, Any]:
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoModelForMaskedLM,
        AutoTokenizer,
        PretrainedConfig,
    )

    if source.gguf_file is None:
        if Path(source.place).is_dir():
            declared.check_folder(source.place, Path(source.place))
        else:
            declared.check_config(source.place, PretrainedConfig.get_config_dict(source.place, **options)[0])
    config = AutoConfig.from_pretrained(source.place, **options)
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
    tokenizer = AutoTokenizer.from_pretrained(source.place, **options)
    # A prompt that is too long is refused in words of our own.
    getattr(tokenizer, "deprecation_warnings", {})[_LONGER] = True
    if not isinstance(tokenizer.model_max_length, int | float):
        raise ValueError(
            f"its tokenizer's model_max_length is {tokenizer.model_max_length!r:.40}, and no number"
        )
    if both and not has_template(tokenizer):
        tokenizer.chat_template = _template_of_processor(source.place, options)
    if dtype is None and runs_on != "cpu":
        dtype = "auto"
    of_gguf = source.gguf_file is not None
    revision = options.get("revision")
    if dtype is None:
        saved = gguf.saved_dtype(source, revision) if of_gguf else precision.saved_dtype(config)
        dtype = precision.dtype_on_cpu(saved, int(config.get_text_config().hidden_size))
    if of_gguf:
        gguf.check_whole(source, revision)
        gguf.settle_tokenizer(tokenizer, source, revision)
        # The config is given, or the file is read again for it.
        weights = {**weights, **gguf.options(), **whole.READING}
        model, found = kind.from_pretrained(source.place, **options, **weights, config=config)
        whole.check(source.model_id, found)
        gguf.settle(model, dtype if isinstance(dtype, torch.dtype) else gguf.saved_dtype(source, revision))
        whole.check_shapes(str(source.gguf_file), model)
        return model, tokenizer
    stored = getattr(config, "quantization_config", None) is not None
    if target is not None and (stored or "quantization_config" in weights):
        weights = {**weights, "device_map": target}  # some quantized models can't be moved later
    model, found = kind.from_pretrained(source.place, **options, **weights, **whole.READING, dtype=dtype)
    whole.check(source.model_id, found)
    whole.check_surplus(source.model_id, found, model)
    return model, tokenizer


def _template_of_processor(place: str, options: dict[str, Any]) -> str | None:
    """The chat template of a model for text and images, where it is kept for the processor only."""
    from transformers.utils import cached_file

    file = cached_file(
        place,
        "chat_template.json",
        revision=options.get("revision"),
        _raise_exceptions_for_missing_entries=False,
    )
    found = json_value(Path(file).read_text(encoding="utf-8")) if file else None
    template = found.get("chat_template") if isinstance(found, dict) else None
    return template if isinstance(template, str) else None


def settle_template(tokenizer: Any, model: str, options: Mapping[str, Any] | None = None) -> None:
    """Sets the options of a chat template; warns of a chat model that has none.

    Raises:
        ModelError: There is no template, or it does not read them, leaves out the user, or comes to no end.
    """
    if options is not None:
        arguments.instance(
            options, "template_options", Mapping, "a mapping from names to values, or None", ModelError
        )
    if options:
        set_options(tokenizer, options, model)
    mend = "put a right chat_template.jinja beside it"
    try:
        left_out = leaves_out_user(tokenizer)
    except TimeoutError:
        raise ModelError(
            f"the chat template of {model} comes to no end, with one word to write; {mend}"
        ) from None
    if left_out:
        raise ModelError(f"the chat template of {model} leaves out what the user says; {mend}")
    if not has_template(tokenizer) and _CHATS.search(model):
        warnings.warn(
            f"{model} is called a chat model but has no chat template: it is asked in the plain format (Question: ... "
            "Answer: ...), which it was not made for, so that it answers worse and may not end; put its "
            "chat_template.jinja beside it",
            stacklevel=2,
        )


@contextmanager
def quiet_bars() -> Iterator[None]:
    """No bars of transformers' own: for what loads in a moment, and in logs."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with gguf.quiet_bar():
            yield
    finally:
        if shown:
            logging.enable_progress_bar()
