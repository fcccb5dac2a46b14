"""The steps that the experiments share: vectors, the choice of a block, answers and their judgement.

The paper's way, as its code does it: a vector is the difference of means at the last prompt token, made a unit vector;
format instructions set every token's projection to the mean of instructed prompts; the block is the first of the best
on validation prompts, no steering being the first of all, and a block with one degenerate answer is out.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from trimtab import learn
from trimtab.engines import load
from trimtab.measure.quality import repetition
from trimtab.measure.responses import Response, respond
from trimtab.measure.rows import CONDITIONS
from trimtab.progress import Tell, part_of, silent
from trimtab.reproduce import paper
from trimtab.reproduce.material import Material
from trimtab.reproduce.paper import Addition, PaperModel
from trimtab.reproduce.results import Cell, Table
from trimtab.tune.paper import PaperRule, text_perplexity

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.evaluate.suites import Item
    from trimtab.instructions import Instruction
    from trimtab.learn import Directions
    from trimtab.measure.quality import FactCheck
    from trimtab.prompts.pairs import PromptPair
    from trimtab.reproduce.published import Measured, Published
    from trimtab.steering.steering import Steering

Degenerate = Callable[[Sequence[str]], list[bool]]
"""Says of each answer whether it is degenerate."""

NONE = "none"
"""The candidate without steering."""

REPETITION = 0.3
"""For the built-in model, whose every sentence is easy to predict: more repeated word 4-grams than this."""

QUESTION_ANSWER = "{{ bos_token }}{% for message in messages %}Q: {{ message['content'] }}\nA:{% endfor %}"
"""The paper's prompt format for base models (format/find_best_layer.py); answers end before the next `Q:`."""


@dataclass(frozen=True)
class Setup:
    """An experiment's model, prompts and settings.

    Attributes:
        engine: The model.
        settings: The paper's settings for it.
        material: The prompts.
        degenerate: Says which answers are degenerate.
        pairs: At most so many prompt pairs for a vector of a format instruction; None for all.
        validation: Validation prompts per choice.
        max_new_tokens: Longest answer.
        batch_size: Rows per batch; None lets the engine choose.
        facts: Judges the truth of an answer; None leaves facts out.
        source: The instruction-tuned model of the transfer experiment, `engine` being its base.
        made: Makes a steering on the source by another way, to be moved beside the vectors; None leaves it out.
        published: What the authors' own outputs give, to stand beside what is measured; None leaves it out.
        tell: Told how far the experiment is; `run` sets it.
    """

    engine: Engine
    settings: PaperModel
    material: Material
    degenerate: Degenerate
    pairs: int | None = None
    validation: int = paper.FORMAT_VALIDATION
    max_new_tokens: int = paper.FORMAT_TOKENS
    batch_size: int | None = None
    facts: FactCheck | None = None
    source: Engine | None = None
    made: Callable[[Instruction], Steering] | None = None
    published: Published | None = None
    tell: Tell = silent
    _stage: list[str] = field(default_factory=lambda: ["answering"])

    def beside(self, experiment: str, measured: Measured) -> list[Table]:
        """What was measured beside what was published, as a table; none where there is nothing."""
        table = self.published.beside(experiment, measured) if self.published else None
        return [table] if table else []

    def step(self, what: str) -> None:
        """Begins a stage, which all answers up to the next one belong to."""
        self._stage[:] = [what]
        self.tell(what, 0)

    @functools.cached_property
    def continues(self) -> bool:
        """Whether the model goes on with a question of its own after its answer, as a base model does."""
        return getattr(getattr(self.engine, "tokenizer", None), "chat_template", None) == QUESTION_ANSWER

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks of the search."""
        return self.settings.search_blocks(self.engine.identity.blocks)

    def vectors(
        self, pairs: Sequence[PromptPair], instruction: Instruction, engine: Engine | None = None
    ) -> Directions:
        """The unit difference of means at every block, on this model or another."""
        return learn.mean_difference(
            engine or self.engine, list(pairs), instruction, batch_size=self.batch_size
        )

    def projections(self, directions: Directions) -> dict[int, Steering]:
        """The set projections of the search, by block; none where the vector is zero."""
        return {
            block: directions.set_projection(block)
            for block in self.blocks
            if bool(directions.directions[directions.blocks.index(block)].any())
        }

    def added(self, directions: Directions, addition: Addition) -> Steering | None:
        """A vector added with a weight: in units of the residual stream, or as a multiple of its own length."""
        if addition.weight == 0:
            return None
        row = directions.blocks.index(addition.block)
        length = float(directions.instructed[row] - directions.plain[row])
        strength = addition.weight if self.settings.multiples else addition.weight / length
        return directions.add(addition.block, strength)

    def answer(
        self,
        items: Sequence[Item],
        steering: Steering | Sequence[Steering | None] | None,
        *,
        spoken: bool | Sequence[str],
        most: int | None = None,
    ) -> list[Response]:
        """Greedy answers to the items, steered by one or each by its own, with perplexity under the unsteered model.

        Their prompts have the instruction in them where `spoken`, which may also be the prompts to use instead.
        """
        queries = [item.asked for item in items]
        if spoken is True:
            spoken = [item.instructed for item in items]
        responses = respond(
            self.engine,
            queries,
            spoken or queries,
            steering=steering,
            facts=self.facts,
            max_new_tokens=min(most or self.max_new_tokens, self.max_new_tokens),
            batch_size=self.batch_size,
            progress=part_of(self.tell, self._stage[0]),
        )
        if not self.continues:
            return responses
        return [replace(response, text=response.text.split("Q:")[0]) for response in responses]

    def in_conditions(
        self,
        items: Sequence[Item],
        steered: Mapping[bool, Sequence[Steering | None]],
        most: int | None = None,
    ) -> dict[str, list[Response]]:
        """The answers under each condition; `steered` by what, without (False) and with the instruction's text."""
        answers = {}
        for condition in CONDITIONS:
            spoken = condition.startswith("instructed")
            steering = steered[spoken] if "steered" in condition else None
            answers[str(condition)] = self.answer(items, steering, spoken=spoken, most=most)
        return answers

    def choose(
        self,
        items: Sequence[Item],
        candidates: Mapping[str, Steering | Sequence[Steering | None] | None],
        *,
        spoken: bool,
        strict: bool = False,
        most: int | None = paper.SEARCH_TOKENS,
    ) -> tuple[str, dict[str, float]]:
        """The first of the best candidates on validation prompts, in one batched pass.

        Candidates, by name and in the order of preference, are one steering, or one for each item. Shares are by the
        loose check, which is the code's for format instructions, unless `strict`; 0 where an answer was degenerate.
        """
        responses = self.answer(
            list(items) * len(candidates),
            [
                steering
                for each in candidates.values()
                for steering in (each if isinstance(each, Sequence) else [each] * len(items))
            ],
            spoken=spoken,
            most=most,
        )
        shares: dict[str, float] = {}
        for number, name in enumerate(candidates):
            part = responses[number * len(items) : (number + 1) * len(items)]
            sound = not any(self.degenerate([response.text for response in part]))
            shares[name] = share(followed(items, part, strict=strict)) if sound else 0.0
        best = max(shares.values())
        return next(name for name, value in shares.items() if value == best), shares


def followed(items: Sequence[Item], responses: Sequence[Response], *, strict: bool = False) -> list[bool]:
    """Whether each answer follows all instructions of its prompt, by the loose or the strict check."""
    verdicts = []
    for item, response in zip(items, responses, strict=True):
        judged = [one.for_query(item.asked).judge(response.text) for one in item.instructions]
        verdicts.append(all(one.strict if strict else one.loose for one in judged))
    return verdicts


def share(verdicts: Sequence[bool]) -> float:
    """The share that is true; 0 of none."""
    return sum(verdicts) / len(verdicts) if verdicts else 0.0


def by_group(groups: Sequence[str], verdicts: Sequence[Sequence[bool]]) -> tuple[tuple[Cell, ...], ...]:
    """A row for each group: its name, how many answers are of it, and the share that is true in each column."""
    return tuple(
        (
            group,
            groups.count(group),
            *(share([ok for ok, own in zip(each, groups, strict=True) if own == group]) for each in verdicts),
        )
        for group in dict.fromkeys(groups)
    )


def repeats(texts: Sequence[str]) -> list[bool]:
    """Degenerate as the built-in model is: empty, or repeating itself."""
    return [not text.strip() or repetition(text) > REPETITION for text in texts]


def unsurprising(model: str, *, device: str | None = None) -> Degenerate:
    """Degenerate as the paper has it, by another model, which is loaded when the first answer is judged."""

    @functools.cache
    def rule() -> PaperRule:
        return PaperRule(text_perplexity(load(model, device=device)))

    return lambda texts: rule().degenerate(texts)


def question_answer(engine: Any) -> Any:
    """A base model in the paper's prompt format; one that has a chat template comes back as it is."""
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.steering.templates import has_template

    if has_template(engine.tokenizer):
        return engine
    tokenizer = copy.deepcopy(engine.tokenizer)
    tokenizer.chat_template = QUESTION_ANSWER
    return TransformersEngine(
        engine.model, tokenizer, model_id=engine.identity.id, revision=engine.identity.revision
    )
