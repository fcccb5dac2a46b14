"""The model that lm-evaluation-harness asks: one of the transformers engine, steered, told, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval import utils
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from trimtab.engines.chat import prompt_ids
from trimtab.engines.loading import load
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError, PromptError
from trimtab.harness.likelihoods import Continuation, log_likelihoods
from trimtab.harness.telling import Telling
from trimtab.instructions import Instruction, resolve_all
from trimtab.progress import Progress, shown
from trimtab.steering.collection import SteeringFolder
from trimtab.steering.steering import Steering
from trimtab.steering.templates import has_template, rendered

_CONTEXT = 2048
"""The longest context of a model that says nothing of it, as in lm-eval."""

_FIRST_ROUND, _GROWTH = 32, 4
"""Greedy answers that end at a text are written in rounds, each of so many times the tokens of the one before."""


@register_model("trimtab")
class SteeredLM(TemplateLM):  # type: ignore[misc]
    """`--model trimtab` of lm-eval: log-likelihoods and text of a steered model.

    Prompts and chats come from lm-eval as they are; a steering's `when` is decided on them, and its `prompt` and
    `generated` edits tell the context from what is scored or written. The tokens are those that lm-eval's own `hf`
    model would take.

    Args:
        pretrained: The name of a model, as `trimtab.load` takes it, or a transformers engine.
        steering: What acts on every request: a steering, a folder, `owner/name` of the Hub, or several of these, of
            which the sum acts.
        strength: What to multiply it by.
        instruction: Instructions that are put into each prompt: behind the last user message of a chat, in front of a
            bare context, in one of their test phrasings.
        seed: Which phrasing meets which prompt.
        batch_size: Rows per forward pass; None or "auto" chooses by length and memory.
        max_length: The longest context, in tokens; None takes the model's.
        device: Where to put a model that is given by its name.
        progress: See `trimtab.progress.Progress`.
        options: Others of `trimtab.load`, and those of lm-eval that mean nothing here.

    Raises:
        ModelError: The model cannot be loaded, or is none of the transformers engine.
        SteeringError: A steering cannot be read, or was made for another model.
        InstructionError: There is no such instruction.
    """

    def __init__(
        self,
        pretrained: str | TransformersEngine,
        steering: str | Path | Steering | Sequence[str | Path | Steering] = (),
        strength: float = 1.0,
        instruction: Any = (),
        seed: int = 0,
        batch_size: int | str | None = None,
        max_length: int | None = None,
        device: str | None = None,
        progress: Progress = False,
        max_batch_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        engine = load(pretrained, device=device, **options) if isinstance(pretrained, str) else pretrained
        if not isinstance(engine, TransformersEngine):
            raise ModelError(
                f"lm-eval's model trimtab runs the transformers engine, not {type(engine).__name__}"
            )
        self.engine = engine
        self.tokenizer = engine.tokenizer
        self.steering = _sum_of(steering, strength)
        if self.steering is not None:
            self.steering.check_model(engine.identity)
        self._telling = Telling(resolve_all(instruction), seed)
        self.batch_size = _batch_size(batch_size)
        self._max_length = max_length
        self._progress = progress
        self._in_chat = False
        self._device = engine.device

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """What is put into each prompt."""
        return self._telling.instructions

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that stands for an empty context."""
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def max_length(self) -> int:
        """The longest context, in tokens."""
        if self._max_length is not None:
            return self._max_length
        config = self.engine.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or _CONTEXT)

    @property
    def max_gen_toks(self) -> int:
        """The longest answer of a task that says nothing of it, as in lm-eval."""
        return 256

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval keeps its prepared requests under: the model, and what is put into the prompts."""
        name = self.engine.identity.id.replace("/", "__")
        mark = self._telling.mark
        return f"{name}__{mark}" if mark else name

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of a text, with the special tokens that the tokenizer puts around it, once."""
        if add_special_tokens is False or not string:
            return list(self.tokenizer(string, add_special_tokens=False)["input_ids"])
        return prompt_ids(self.tokenizer, string, raw=True)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A chat in the model's own template, with the instruction behind the last user message.

        Raises:
            PromptError: The model has no template, or it refuses the chat.
        """
        if not has_template(self.tokenizer):
            raise PromptError(
                f"{self.engine.identity.id} has no chat template; leave --apply_chat_template out"
            )
        self._in_chat = True
        chat = self._telling.in_chat(chat_history)
        begun = not add_generation_prompt
        try:
            return str(
                rendered(self.tokenizer, chat, add_generation_prompt=not begun, continue_final_message=begun)
            )
        except Exception as error:  # a template is the model author's program: it can raise anything
            raise PromptError(f"the model's chat template refuses a chat of the task: {error}") from error

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **options: Any
    ) -> list[tuple[float, bool]]:
        limit = self.max_length
        wanted = []
        for _text, context, tokens in requests:
            # As lm-eval: too long a context loses its beginning, and the last token is only predicted.
            kept = (*context, *tokens)[-(limit + 1) :]
            wanted.append((kept[: -len(tokens)], tuple(tokens)))
        steerings = self._decided([text[0] if text else "" for text, _, _ in requests])
        continuations = [
            Continuation(context, tokens, steering)
            for (context, tokens), steering in zip(wanted, steerings, strict=True)
        ]
        with shown(self._progress) as tell:
            found = log_likelihoods(self.engine, continuations, tell, batch_size=self.batch_size)
        for (text, _, _), answer in zip(requests, found, strict=True):
            if text is not None:
                self.cache_hook.add_partial("loglikelihood", text, answer)
        return found

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-likelihood of each continuation, and whether greedy decoding would write it; see lm-eval."""
        pairs = [tuple(request.args) for request in requests]
        prepared = []
        for context, continuation in pairs:
            told = self._told(context)
            if told:
                before, tokens = self._encode_pair(told, continuation)
            else:
                before, tokens = (
                    [self.prefix_token_id],
                    self.tok_encode(continuation, add_special_tokens=False),
                )
                if tokens[:1] == before and len(tokens) > 1:
                    tokens = tokens[1:]
            prepared.append(((context, continuation), before, tokens))
        return self._loglikelihood_tokens(prepared)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, in windows of the context's length; see lm-eval.

        Raises:
            PromptError: There is an instruction, which a text without a prompt cannot be given.
        """
        if self.instructions:
            raise PromptError("a task that scores whole texts has no prompt to put an instruction into")
        windows: list[tuple[Any, list[int], list[int]]] = []
        counts = []
        for request in requests:
            (text,) = request.args
            parts = [
                utils.make_disjoint_window(window)
                for window in utils.get_rolling_token_windows(
                    token_list=self.tok_encode(text),
                    prefix_token=self.prefix_token_id,
                    max_seq_len=self.max_length,
                    context_len=1,
                )
            ]
            windows += [(None, context, tokens) for context, tokens in parts]
            counts.append(len(parts))
        scores = iter(self._loglikelihood_tokens(windows) if windows else [])
        totals = [sum(next(scores)[0] for _ in range(count)) for count in counts]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to a text that ends it; see lm-eval."""
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(number)
        answers = [""] * len(requests)
        for numbers in groups.values():
            given = requests[numbers[0]].args[1]
            contexts = [self._told(requests[number].args[0]) for number in numbers]
            for number, text in zip(numbers, self._write(contexts, given), strict=True):
                answers[number] = text
                self.cache_hook.add_partial("generate_until", requests[number].args, text)
        return answers

    def _write(self, contexts: list[str], given: Mapping[str, Any]) -> list[str]:
        options = normalize_gen_kwargs(dict(given), self.max_gen_toks)
        until = handle_stop_sequences(options.pop("until", None), eos=None)
        until = [*until, self.tokenizer.eos_token]
        longest = options.pop("max_gen_toks")
        settings = _sampling(options)
        contexts = [self._shortened(context, self.max_length - longest) for context in contexts]
        steerings = self._decided(contexts)
        limit = min(longest, _FIRST_ROUND) if not settings and len(until) > 1 else longest
        texts: dict[int, str] = {}
        while True:
            waiting = [number for number in range(len(contexts)) if number not in texts]
            written = self.engine.generate(
                [contexts[number] for number in waiting],
                steering=[steerings[number] for number in waiting],
                max_new_tokens=limit,
                batch_size=self.batch_size,
                raw=True,
                progress=self._progress,
                **settings,
            )
            for number, answer in zip(waiting, written, strict=True):
                text = postprocess_generated_text(answer.text, until, None)
                if answer.finished or limit == longest or len(text) < len(answer.text):
                    texts[number] = text
            if len(texts) == len(contexts):
                return [texts[number] for number in range(len(contexts))]
            limit = min(longest, limit * _GROWTH)

    def _shortened(self, context: str, most: int) -> str:
        ids = self.tok_encode(context)
        if most < 1:
            raise PromptError(
                f"the task wants answers of {self.max_length - most} tokens, and the context of the model is "
                f"{self.max_length}; lower max_gen_toks"
            )
        return context if len(ids) <= most else str(self.tokenizer.decode(ids[-most:]))

    def _decided(self, contexts: Sequence[str]) -> list[Steering | None]:
        """What acts on each context."""
        if self.steering is None:
            return [None] * len(contexts)
        if not self.steering.whens:
            return [self.steering] * len(contexts)
        start = str(self.tokenizer.decode([self.prefix_token_id]))
        return self.engine.decided(
            self.steering,
            [context or start for context in contexts],
            batch_size=self.batch_size,
            raw=True,
        )

    def _told(self, context: str) -> str:
        """A context with the instructions in front, unless it is a chat, which has them already."""
        return context if self._in_chat else self._telling.in_front(context)


def _sum_of(
    given: str | Path | Steering | Sequence[str | Path | Steering], strength: float
) -> Steering | None:
    parts = [given] if isinstance(given, str | Path | Steering) else list(given)
    if not parts:
        return None
    first, *others = [
        one if isinstance(one, Steering) else Steering.load(SteeringFolder.found(one).path) for one in parts
    ]
    for other in others:
        first = first + other
    return first * float(strength)


def _batch_size(given: int | str | None) -> int | None:
    if given is None or str(given).partition(":")[0] == "auto":
        return None
    try:
        size = int(given)
    except ValueError:
        size = 0
    if size < 1:
        raise ModelError(f"batch_size is {given!r}; it must be a number from 1 on, or auto")
    return size


def _sampling(options: dict[str, Any]) -> dict[str, Any]:
    """What of a task's settings the engine takes; none for greedy decoding."""
    if not options.get("do_sample"):
        return {}
    known = ("do_sample", "temperature", "top_p", "top_k")
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ModelError(f"the task samples with {', '.join(unknown)}, which is none of {', '.join(known)}")
    return {name: options[name] for name in known if name in options}
