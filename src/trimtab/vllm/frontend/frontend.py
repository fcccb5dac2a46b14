"""The frontend's side: what a request asks for is resolved, refused or salted before the engine sees it.

It lives in the process that takes requests, once per `InputProcessor` of vLLM. From there on a request carries digests
and strengths, never names, and its share of the prefix cache is its own: the salt of its cached blocks covers what
steers it, and no client can leave that out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab.errors import ModelError, SteeringError
from trimtab.serve.composition import Composition
from trimtab.serve.library import MIB, SteeringLibrary
from trimtab.serve.request import STEERING_KEY, parse_request
from trimtab.serve.resolving import resolve
from trimtab.steering.record import ModelIdentity
from trimtab.vllm.packing import pack_edits
from trimtab.vllm.prefix_cache import INTERNAL, SCOPED, salt
from trimtab.vllm.settings import SteeringSettings


@dataclass(frozen=True)
class TrustedRequest:
    """What a caller in this process gives as `extra_args["steering"]`, beyond what a client may: JSON cannot make one.

    Attributes:
        composition: Digests and strengths; every worker must hold them already.
        prompt_tokens: How many tokens count as the prompt, if not all that were given.
        record: The number under which the workers record the request; None not to.
    """

    composition: Composition = ()
    prompt_tokens: int | None = None
    record: int | None = None


@dataclass(frozen=True)
class RequestPlan:
    """What becomes of a request: what steers it, and what the workers are told; None for nothing."""

    composition: Composition = ()
    internal: dict[str, Any] | None = field(default=None, compare=False)


class Frontend:
    """Resolves the steering of requests for the model of one `VllmConfig`.

    Attributes:
        settings: What steering is served with.
        identity: Which model is served.
        library: The steerings that requests can name; the folder of the settings is in it from the start.

    Raises:
        ModelError: Steering was not asked for.
        SteeringError: A steering of the folder cannot be served.
    """

    def __init__(self, vllm_config: Any, tokenizer: Any = None) -> None:
        settings = SteeringSettings.from_vllm(vllm_config)
        if settings is None:
            raise ModelError('this vLLM serves no steering: give it additional_config={"trimtab": {}}')
        self.settings = settings
        self.identity = served_identity(vllm_config.model_config, tokenizer, settings.template_options)
        dtype = settings.dtype(vllm_config.model_config.dtype)
        self.library = SteeringLibrary(
            self.identity,
            gates=settings.gates,
            limit=settings.limit,
            limit_bytes=settings.limit_mib * MIB,
            dtype=dtype,
        )
        if settings.steerings is not None:
            self.library.load_folder(settings.steerings)

    @classmethod
    def of(cls, input_processor: Any) -> Frontend | None:
        """The frontend of a vLLM `InputProcessor`, made on first use; None if steering is not served there."""
        known: Frontend | None = getattr(input_processor, "trimtab", None)
        if known is None and SteeringSettings.from_vllm(input_processor.vllm_config) is not None:
            known = input_processor.trimtab = cls(input_processor.vllm_config, input_processor.tokenizer)
            _end_where_templates_do(input_processor)
        return known

    def plan(self, params: Any) -> RequestPlan:
        """Decides what becomes of a request by its `SamplingParams`; those of another kind of request are not steered.

        Raises:
            SteeringError: It asks for what cannot be had; the message is for the client.
        """
        extra = getattr(params, "extra_args", None)
        if not isinstance(extra, Mapping):
            return RequestPlan()
        refuse_internal(extra)
        request = extra.get(STEERING_KEY)
        if request is None or request == TrustedRequest():
            return RequestPlan()
        if isinstance(request, TrustedRequest):
            return self._trusting(request)
        resolved = resolve(parse_request(request), self.library)
        if not resolved.composition:
            return RequestPlan()
        internal: dict[str, Any] = {"composition": [list(part) for part in resolved.composition]}
        if resolved.scoped:
            internal[SCOPED] = True
        if resolved.inline:
            internal["inline"] = {digest: pack_edits(edits) for digest, edits in resolved.inline.items()}
        return RequestPlan(resolved.composition, internal)

    def _trusting(self, request: TrustedRequest) -> RequestPlan:
        if request.record is not None and not self.settings.record:
            raise SteeringError(
                'to record requests, serve with additional_config={"trimtab": {"record": true}}'
            )
        internal: dict[str, Any] = {"composition": [list(part) for part in request.composition]}
        if request.composition:
            internal[SCOPED] = (
                True  # it may be; where it is not, nothing is lost but quoted answers in the cache
            )
        own = {"prompt_tokens": request.prompt_tokens, "record": request.record}
        internal |= {name: value for name, value in own.items() if value is not None}
        return RequestPlan(request.composition, internal)

    def attach(self, request: Any, plan: RequestPlan) -> None:
        """Puts a plan into an `EngineCoreRequest`, not yet sent: what the workers are told, and the salt of its blocks.

        Raises:
            SteeringError: Its prompt is to grow meanwhile, under edits for which it matters where that ends.
        """
        if plan.internal is not None and plan.internal.get(SCOPED) and getattr(request, "resumable", False):
            raise SteeringError(
                "a prompt that is sent in pieces cannot be steered by edits for the prompt only, or for generated "
                "tokens only: what was an answer becomes a prompt there; use edits for all tokens"
            )
        request.cache_salt = salt(request.cache_salt, plan.composition)
        params = request.sampling_params
        if params is None or not params.extra_args:
            return
        extra = {name: value for name, value in params.extra_args.items() if name != STEERING_KEY}
        if plan.internal is not None:
            extra[INTERNAL] = plan.internal
        params.extra_args = extra


def refuse_internal(extra: Mapping[str, Any]) -> None:
    """Refuses a request that writes what only the frontend may."""
    if INTERNAL in extra:
        raise SteeringError(f"'{INTERNAL}' is not for clients; ask for a steering with '{STEERING_KEY}'")


def _end_where_templates_do(input_processor: Any) -> None:
    """Lets answers also end with the token by which the chat template closes a turn, as the other engines do."""
    from trimtab.engines.ends import turn_end

    settings = getattr(input_processor, "generation_config_fields", None)
    end = turn_end(input_processor.tokenizer)
    if isinstance(settings, dict) and end is not None:
        known = settings.get("eos_token_id")
        known = [] if known is None else [known] if isinstance(known, int) else list(known)
        settings["eos_token_id"] = list(dict.fromkeys([*known, end]))


def refuse_unserved(params: Any) -> None:
    """Refuses a request for steering where none is served: it must not be answered unsteered."""
    extra = getattr(params, "extra_args", None)
    if isinstance(extra, Mapping) and (extra.get(STEERING_KEY) is not None or INTERNAL in extra):
        raise SteeringError(
            "steering is not served here: start the server with `trimtab serve`, or vLLM with "
            "--additional-config '{\"trimtab\": {}}'"
        )


def served_identity(
    model_config: Any, tokenizer: Any = None, template_options: Mapping[str, Any] | None = None
) -> ModelIdentity:
    """Which model a vLLM serves, in the words that `trimtab.load` has for it.

    A tokenizer that is None, or without chat templates of its own, is loaded.
    """
    from trimtab.engines.names import name_and_revision
    from trimtab.steering.identity import model_identity
    from trimtab.steering.templates import set_options

    if not hasattr(tokenizer, "chat_template"):
        tokenizer = loaded_tokenizer(model_config)
    name, revision = name_and_revision(model_config.model, model_config.revision)
    if template_options:
        tokenizer = copy.deepcopy(tokenizer)  # vLLM's own gets them with each request
        set_options(tokenizer, template_options, name)
    return model_identity(
        model_config.hf_config,
        tokenizer,
        blocks=int(model_config.get_total_num_hidden_layers()),
        model_id=name,
        revision=revision,
    )


def loaded_tokenizer(model_config: Any) -> Any:
    """The tokenizer of the model that a vLLM serves, that of transformers."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        model_config.tokenizer or model_config.model,
        revision=model_config.tokenizer_revision,
        trust_remote_code=model_config.trust_remote_code,
    )
