"""Responses with their quality, whatever they were supposed to follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trimtab import arguments
from trimtab.engines import Model, as_engine
from trimtab.engines.ranks import Ranks
from trimtab.errors import PromptError
from trimtab.instructions.text import unclosed
from trimtab.measure.judges.base import known
from trimtab.measure.quality import (
    FactCheck,
    Quality,
    negative_log_likelihoods,
    perplexity_of,
    repetition,
)
from trimtab.measure.statistics import mean
from trimtab.progress import Progress

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.engines.base import Engine, Generation, Prompt
    from trimtab.instructions import Instruction
    from trimtab.measure.scorer import Scorer
    from trimtab.steering.steering import Steering


Scores = dict[tuple[str, tuple[int, ...]], float | None]
"""Nats per token of responses: by query, and the tokens of the response."""


@dataclass(frozen=True)
class Response:
    """One response and its quality, whatever it was supposed to follow.

    Attributes:
        query: The bare query.
        prompt: What the model was given: the query, with the phrasing where the condition is instructed.
        text: What it answered.
        finished: Whether the model ended the answer itself, before the limit of new tokens.
        nll: Nats per token given the bare query, under the unsteered model; None for an empty response.
        repetition: Share of repeated word 4-grams.
        facts: Share of true sentences; None where it cannot be judged.
        tokens: How many tokens the answer has, without the end token and what was thought before; 0 if unknown.
        judged: Share of a judge's questions about it that were answered with yes; None without a judge.
        scorer_nll: Nats per token given the bare query, under the scorer; None without one.
        relevance: How many nats per token the bare query makes it more likely, under the scorer; None without one.
        taken: Mean probability that a constraint took away from the model's tokens, per token; None without one.
        thought: What the model thought before it answered, which nothing judges; None where it marked no thought.
    """

    query: str
    prompt: str
    text: str
    finished: bool
    nll: float | None
    repetition: float
    facts: float | None
    tokens: int = 0
    judged: float | None = None
    scorer_nll: float | None = None
    relevance: float | None = None
    taken: float | None = None
    thought: str | None = None


def quality_of(responses: Sequence[Response]) -> Quality:
    """The quality of responses together."""
    return Quality(
        perplexity=perplexity_of([response.nll for response in responses]),
        repetition=mean(response.repetition for response in responses) or 0.0,
        facts=mean(response.facts for response in responses),
        tokens=mean(response.tokens for response in responses),
        scorer_perplexity=perplexity_of([response.scorer_nll for response in responses]),
        relevance=mean(response.relevance for response in responses),
        taken=mean(response.taken for response in responses),
    )


def respond(
    model: Model,
    queries: Sequence[str],
    prompts: Sequence[str],
    *,
    steering: Steering | Sequence[Steering | None] | None = None,
    constraints: Sequence[Constraint | None] | None = None,
    facts: FactCheck | None = None,
    max_new_tokens: int = 256,
    batch_size: int | None = None,
    scores: Scores | None = None,
    scorer: Scorer | None = None,
    progress: Progress = False,
) -> list[Response]:
    """Generates greedily and measures the quality of every response.

    Args:
        model: An engine, or a model of transformers and its tokenizer.
        queries: The bare query behind each prompt.
        prompts: What the model is given, one per query.
        steering: One steering for all rows, one (or None) per row, or None.
        constraints: What each response is held to while decoding, one (or None) per row, or None.
        facts: Judges the truth of a response to a query; None leaves it out.
        max_new_tokens: Longest response, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        scores: Likelihoods that are known; those that are not are computed once, and added.
        scorer: Another model, which scores the responses too; None leaves it out.
        progress: See `trimtab.progress.Progress`.

    Returns:
        One response per prompt, in order.

    Raises:
        PromptError: The lengths differ, or one is no text.
    """
    queries = arguments.each(queries, "queries", "texts", str, PromptError)
    prompts = arguments.listed(prompts, "prompts", "prompts, one for each query", PromptError)
    if len(queries) != len(prompts):
        raise PromptError(f"there are {len(queries)} queries but {len(prompts)} prompts; give one for each")
    if constraints is not None:
        of = "constraints, one (or None) for each prompt"
        constraints = arguments.listed(constraints, "constraints", of, PromptError)
    if facts is not None:
        arguments.function(facts, "facts", "a function of query and response, or None", PromptError)
    if scores is not None:
        arguments.instance(scores, "scores", dict, "a dictionary, or None", PromptError)
    if scorer is not None and not hasattr(scorer, "score"):
        raise PromptError(f"scorer must be a Scorer, or None, not {arguments.in_words(scorer)}")
    if not prompts:
        return []
    engine = as_engine(model)
    generations = engine.generate(
        list(prompts),
        steering=steering,
        constraints=constraints if constraints and any(constraints) else None,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        progress=progress,
    )
    return measured(
        engine,
        queries,
        prompts,
        generations,
        facts=facts,
        batch_size=batch_size,
        scores=scores,
        scorer=scorer,
        progress=progress,
    )


def measured(
    model: Model,
    queries: Sequence[str],
    prompts: Sequence[Prompt],
    generations: Sequence[Generation],
    *,
    facts: FactCheck | None = None,
    batch_size: int | None = None,
    scores: Scores | None = None,
    scorer: Scorer | None = None,
    ranks: Ranks | None = None,
    progress: Progress = False,
) -> list[Response]:
    """Measures the quality of answers that are there.

    Args:
        model: The one whose likelihoods count, unsteered.
        queries: The bare query behind each prompt.
        prompts: What was answered; one prompt per query.
        generations: The answer to each.
        facts: As in `respond`, and so are the next three.
        batch_size: Rows per forward pass.
        scores: Likelihoods that are known.
        scorer: Another model.
        ranks: Processes that call this alike and share the work; all get every response.
        progress: See `trimtab.progress.Progress`.

    Raises:
        ValueError: The lengths differ.
    """
    ranks = ranks or Ranks()
    rows = list(zip(queries, prompts, generations, strict=True))
    share = ranks.share(range(len(rows)))
    mine = _measured(as_engine(model), [rows[row] for row in share], facts, batch_size, scores)
    if scorer is not None:
        mine = scored_by(mine, scorer, progress=progress)
    found = ranks.merge(dict(zip(share, mine, strict=True)))
    return [found[row] for row in range(len(rows))]


def _measured(
    engine: Engine,
    rows: Sequence[tuple[str, Prompt, Generation]],
    facts: FactCheck | None,
    batch_size: int | None,
    scores: Scores | None,
) -> list[Response]:
    # The very tokens that were generated: broken text would come back as other, and many more, tokens.
    asked = [
        (query, generation.token_ids if generation.text.strip() else ()) for query, _, generation in rows
    ]
    new = asked if scores is None else [one for one in dict.fromkeys(asked) if one not in scores]
    nlls = negative_log_likelihoods(
        engine, [query for query, _ in new], [tokens for _, tokens in new], batch_size=batch_size
    )
    if scores is not None:
        scores.update(zip(new, nlls, strict=True))
        nlls = [scores[one] for one in asked]
    return [
        Response(
            query=query,
            prompt=prompt if isinstance(prompt, str) else query,
            text=generation.text,
            finished=generation.finished,
            nll=nll,
            repetition=repetition(generation.text),
            facts=None if facts is None else facts(query, generation.text),
            tokens=len(generation.answer_ids),
            taken=generation.taken,
            thought=generation.thought,
        )
        for (query, prompt, generation), nll in zip(rows, nlls, strict=True)
    ]


def scored_by(responses: Sequence[Response], scorer: Scorer, *, progress: Progress = False) -> list[Response]:
    """The same responses with what another model makes of them, as answers to their bare queries.

    Args:
        responses: What was answered.
        scorer: The other model.
        progress: See `trimtab.progress.Progress`.

    Raises:
        ModelError: The scorer cannot be loaded.
        PromptError: A query and its response do not fit the scorer's context.
    """
    queries, texts = [one.query for one in responses], [one.text for one in responses]
    return [
        replace(response, scorer_nll=score.nll, relevance=score.relevance)
        for response, score in zip(responses, scorer.score(queries, texts, progress=progress), strict=True)
    ]


def respond_baseline(model: Model, queries: Sequence[str], **options: Any) -> list[Response]:
    """The responses to bare queries, once for all instructions: their baseline; see `respond`."""
    return respond(model, queries, queries, **options)


def follows(text: str, query: str, wanted: Sequence[Instruction]) -> bool:
    """Whether an answer to a query passes the checks of all instructions and can be a lesson.

    One that opens a code fence and does not close it was cut off, though IFEval's check of JSON lets it pass; and one
    that is undecided passes no check.
    """
    return all_follow([text], [query], wanted)[0]


def all_follow(texts: Sequence[str], queries: Sequence[str], wanted: Sequence[Instruction]) -> list[bool]:
    """The same of many answers. Judges, if there are any, read at once what passes all checks."""
    checked = [one for one in wanted if one.judge_in_place is None]
    judged = [one for one in wanted if one.judge_in_place is not None]
    passed = [
        all(one.for_query(query).check(text) for one in checked) and not unclosed(text)
        for text, query in zip(texts, queries, strict=True)
    ]
    if not judged:
        return passed
    known(judged, [text for text, passes in zip(texts, passed, strict=True) if passes])
    return [
        passes and all(one.for_query(query).check(text) for one in judged)
        for text, query, passes in zip(texts, queries, passed, strict=True)
    ]


def verdicts(
    engine: Engine,
    queries: Sequence[str],
    wanted: Sequence[Instruction],
    *,
    prompts: Sequence[Prompt] | None = None,
    steering: Steering | None = None,
    max_new_tokens: int = 192,
    batch_size: int | None = None,
    ranks: Ranks | None = None,
    progress: Progress = False,
) -> list[bool]:
    """Answers queries as they are, and says of each answer whether it follows all instructions.

    The processes of `ranks` share the work, and all get the same verdicts.
    """
    ranks = ranks or Ranks()
    told: dict[str, Any] = {} if progress is False else {"progress": progress}
    asked = queries if prompts is None else prompts
    mine = {}
    share = ranks.share(range(len(queries)))
    if share:
        answers = engine.generate(
            [asked[row] for row in share],
            steering=steering,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            **told,
        )
        passed = all_follow([one.text for one in answers], [queries[row] for row in share], wanted)
        mine = dict(zip(share, passed, strict=True))
    found = ranks.merge(mine)
    return [found[row] for row in range(len(queries))]
