"""What an engine is: something that runs a model, to read its activations and to generate with steering.

The rest of the library knows only this contract. Prompts go in as user text or chats and are put into the model's
own chat template by the engine; steerings go in one for all, one per row, or none for some.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from torch import Tensor

from trimtab import arguments
from trimtab.engines import given
from trimtab.errors import ModelError, PromptError, SteeringError
from trimtab.progress import Progress
from trimtab.steering.when.base import Prompt as Prompt

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.engines.constraining import Constraints, Matchers
    from trimtab.steering.edits import Edit
    from trimtab.steering.steering import ModelIdentity, Steering
    from trimtab.thoughts import Reader

Positions = Literal["last", "all", "mean"] | int
"""Which tokens of the formatted prompt are read: the last, all, their mean, or one counted from either end."""


@dataclass(frozen=True, eq=False)
class Capture:
    """Statistics of block outputs over prompts; tensors are float32 on the CPU.

    Attributes:
        blocks: The blocks read, in ascending order; `B` of them.
        count: How many vectors the statistics are over: prompts, or tokens where all tokens were read.
        mean: `[B, d]`, the mean output of each block.
        second_moment: `[B, k]`, the mean square of the projections on the `k` directions given for each block
            (`k` is 1 where one was given), or None. The mean projection is that of `mean`.
        activations: `[count, B, d]` in the order of the prompts (and of their tokens), or None if not kept.
    """

    blocks: tuple[int, ...]
    count: int
    mean: Tensor = field(repr=False)
    second_moment: Tensor | None = field(default=None, repr=False)
    activations: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Generation:
    """One response.

    Attributes:
        text: The answer without special tokens; of one that the prompt began, the rest. What the model thinks before,
            and the tools it calls, are apart (`trimtab.thoughts`).
        token_ids: All tokens that were generated, without the end token and without padding.
        prompt_index: Which of the prompts given it answers.
        finished: Whether the model ended it; False if it ran into `max_new_tokens`.
        taken: Where it was held to a constraint, the probability that this took away from the model's tokens, at
            temperature 1: the mean over its tokens, the end token included. 0 where nothing had to be forbidden.
        thought: What the model thought before it answered; empty where it thought nothing between the marks, None
            where it wrote no marks. Of a thought that was not closed, there is no answer.
        calls: The tool calls, as they were written.
        begins: How many of `token_ids` come before the answer: its thought, and marks. All where there is no answer.
    """

    text: str
    token_ids: tuple[int, ...] = field(repr=False)
    prompt_index: int
    finished: bool
    taken: float | None = None
    thought: str | None = None
    calls: tuple[str, ...] = ()
    begins: int = 0

    @property
    def answer_ids(self) -> tuple[int, ...]:
        """The tokens from where the answer begins."""
        return self.token_ids[self.begins :]


class Engine(ABC):
    """Runs one model. Everything an engine changes in the model is undone when a call returns or raises."""

    identity: ModelIdentity
    """Which model this is; a steering is checked against it before it is used."""
    thoughts: Reader | None = None
    """What tells the model's answers from its thoughts; None in an engine that does not."""

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Ends what runs the model beside this process, if anything does; it is of no use then."""

    def __enter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self, 'identity', 'no model')})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ModelError(
            f"a {type(self).__name__} is neither copied nor pickled; load the model where another is needed"
        )

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def capture(
        self,
        prompts: Sequence[Prompt],
        *,
        blocks: Sequence[int] | None = None,
        positions: Positions = "last",
        directions: Tensor | None = None,
        keep: bool = False,
        batch_size: int | None = None,
        raw: bool = False,
        progress: Progress = False,
    ) -> Capture:
        """Reads block outputs of formatted prompts in one pass; memory does not grow with their number.

        Args:
            prompts: See `Prompt`.
            blocks: The 0-based blocks to read; None for all. Negative numbers count from the last block.
            positions: The tokens to read. A number counts tokens of the formatted prompt from 0, or from the end
                if negative. `mean` reads one mean vector per prompt, `all` each token on its own.
            directions: Directions to take second moments along: `[L, d]` or `[L, k, d]`, with one entry for every
                block of the model or for every block read, in ascending order.
            keep: Whether to keep the raw activations too; memory then grows with the number of prompts.
            batch_size: Prompts per forward pass; None chooses by length and memory.
            raw: Whether the prompts are texts that go in as they are, without the chat template.
            progress: See `trimtab.progress.Progress`.

        Raises:
            PromptError: If there is no prompt, or a prompt is too short or too long.
            ModelError: If a block or a direction does not fit the model.
        """

    @abstractmethod
    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        steering: Steering | Sequence[Steering | None] | None = None,
        constraints: Constraints = None,
        max_new_tokens: int = 256,
        do_sample: bool = False,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        num_beams: int = 1,
        num_return_sequences: int = 1,
        seed: int | None = None,
        batch_size: int | None = None,
        raw: bool = False,
        progress: Progress = False,
    ) -> list[Generation]:
        """Answers prompts, in their order; several responses of one prompt stand together.

        Args:
            prompts: See `Prompt`.
            steering: One for all prompts, one (or None) per prompt, or None; its folder, or its name on the Hub, stands
                for one. One with a `when` acts on the prompts
                for which it holds; see `decided`.
            constraints: What answers are held to: one for all prompts, one (or None) per prompt, or None. It holds for
                the whole answer that a reader sees, with the beginning that a prompt may give it. Not with beams. A
                thought that the prompt opens is closed, and none is written: constrained answers begin at once.
            max_new_tokens: The longest response, in tokens.
            do_sample: Sample instead of taking the most likely token (or beam).
            temperature: For sampling; None leaves it to the model's own generation settings, as below.
            top_p: For sampling: the smallest set of tokens with this probability.
            top_k: For sampling: only the most likely tokens; 0 for all.
            num_beams: Beams per prompt; 1 for none.
            num_return_sequences: Responses per prompt; more than one needs sampling or as many beams.
            seed: Makes sampling repeatable for the same prompts, steerings and batch size, without touching the
                state of torch's generators. A sampled response does depend on what else is in its batch; a
                greedy one does not.
            batch_size: Prompts per batch; None chooses by length and memory.
            raw: Whether the prompts are texts that go in as they are, without the chat template.
            progress: See `trimtab.progress.Progress`.

        Raises:
            PromptError: If there is no prompt, or a prompt and its response don't fit the model's context.
            SteeringError: If a steering was made for another model, their number is not that of the prompts, or a
                `when` cannot be decided.
            InstructionError: If a constraint cannot be compiled, or their number is not that of the prompts.
            ModelError: If the settings contradict each other, or answers cannot be held to a constraint here.
        """

    @abstractmethod
    def stream(
        self,
        prompt: Prompt,
        *,
        steering: Steering | None = None,
        constraint: Constraint | None = None,
        max_new_tokens: int = 256,
        do_sample: bool = False,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        raw: bool = False,
    ) -> Iterator[str]:
        """Answers one prompt in pieces of text that together are the text that `generate` gives, without the thought.

        The model is unchanged between the pieces, so that it can be used elsewhere, or the rest be left.

        Args and errors are those of `generate`.
        """

    @abstractmethod
    def score(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str | Sequence[int]],
        *,
        steering: Steering | Sequence[Steering | None] | None = None,
        batch_size: int | None = None,
        raw: bool = False,
        progress: Progress = False,
    ) -> list[float]:
        """How unlikely the model finds each response to its prompt.

        Args:
            prompts: See `Prompt`.
            responses: One per prompt, as text or as token ids. Text is tokenised on its own, as it was generated; it is
                an answer, in front of which a thought that the prompt opened is closed. Of token ids with a thought,
                the likelihood is that of the answer behind it.
            steering: As in `generate`; the tokens of the response count as generated.
            batch_size: Prompts per forward pass; None chooses by length and memory.
            raw: Whether the prompts are texts that go in as they are, without the chat template.
            progress: See `trimtab.progress.Progress`.

        Returns:
            The mean negative log-likelihood in nats per token of each response; its exponential is the
            perplexity. A response without an answer has none: nan.

        Raises:
            PromptError: If the numbers of prompts and responses differ, or one is too long.
            SteeringError: As in `generate`.
        """

    @property
    def matchers(self) -> Matchers:
        """What compiles constraints for this model.

        Raises:
            ModelError: Its answers cannot be held to any.
        """
        raise ModelError(f"answers of a {type(self).__name__} cannot be held to a constraint")

    def decided(
        self,
        steering: Steering | Sequence[Steering | None] | None,
        prompts: Sequence[Prompt],
        *,
        batch_size: int | None = None,
        raw: bool = False,
    ) -> list[Steering | None]:
        """What acts on each prompt: its steering, less the edits that do not act on it; None where nothing acts.

        A learned `when` reads the unsteered model, in one more pass over the prompts concerned, up to the highest block
        that is read. Everything that takes steerings decides like this by itself; what comes back needs no deciding.

        Args and errors are those of `generate`.
        """
        from trimtab.engines.deciding import decide

        prompts, raw = given.prompt_list(prompts), arguments.flag(raw, "raw", PromptError)
        rows = self.steerings_of_rows(steering, len(prompts))
        capture = partial(self.capture, raw=True) if raw else self.capture
        return [
            one if one is not None and one.edits else None
            for one in decide(capture, rows, prompts, batch_size)
        ]

    def edits_of_rows(
        self,
        steering: Steering | Sequence[Steering | None] | None,
        count: int,
        prompts: Sequence[Prompt] | None = None,
        *,
        batch_size: int | None = None,
        raw: bool = False,
    ) -> list[Sequence[Edit]]:
        """The edits that act on each of `count` rows, after checking every steering against this model.

        `prompts`, for steerings with a `when`, are those of the rows. The other args and errors are those of
        `generate`.
        """
        rows = self.steerings_of_rows(steering, count)
        conditional = next((one for one in rows if one is not None and one.whens), None)
        if conditional is not None:
            if prompts is None:
                raise SteeringError(
                    f"the steering '{conditional.name}' acts only if {conditional.whens[0].describe()}; give the "
                    "prompt of each row to decide that on, or apply steering.always()"
                )
            rows = self.decided(rows, prompts, batch_size=batch_size, raw=raw)
        return [() if one is None else one.edits for one in rows]

    def steerings_of_rows(
        self, steering: Steering | Sequence[Steering | None] | None, count: int
    ) -> list[Steering | None]:
        """The steering of each of `count` rows, after checking every one against this model.

        Raises:
            SteeringError: If one was made for another model, or their number is not `count`.
        """
        return given.steerings_of_rows(steering, count, self.identity)

    def block_numbers(self, blocks: Sequence[int] | None) -> tuple[int, ...]:
        """The blocks meant, in ascending order, negative numbers counted from the last.

        Raises:
            ModelError: If there is none, or the model has no such block.
        """
        return given.block_numbers(blocks, self.identity)


Model = Engine | tuple[Any, Any]
"""What functions take that need a model: an engine, or a causal language model of transformers and its tokenizer."""
