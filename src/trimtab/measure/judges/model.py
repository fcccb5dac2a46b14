"""A judge that is a model: asked in its own chat template, it says how likely yes and no are.

    log-odds = log p("Yes" | question) - log p("No" | question)

The steering that is judged never acts on it, also where it is the very model that answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trimtab.engines import as_engine
from trimtab.engines.batching import check_batch_size
from trimtab.measure.judges.base import InstructionJudge, Store
from trimtab.progress import Progress, part_of, shown

if TYPE_CHECKING:
    from trimtab.engines import Model
    from trimtab.engines.base import Engine
    from trimtab.instructions import Question

PROMPT = """\
Here is a text:

{response}

{question} Answer with Yes or No."""
_YES, _NO = "Yes", "No"


class ModelJudge(InstructionJudge):
    """A model as a judge.

    Args:
        model: An engine, or a model of transformers and its tokenizer; or what loads one when it is first needed.
        name: What stands beside every figure; None takes the model's own, for which it has to be there.
        key: What tells the model from any other, for the store; without it nothing is kept.
        store: Where what was said is kept for later runs.
        batch_size: Texts per forward pass; None lets the engine choose.
    """

    def __init__(
        self,
        model: Model | Callable[[], Engine],
        *,
        name: str | None = None,
        key: Callable[[Engine], Mapping[str, Any]] | None = None,
        store: Store | None = None,
        batch_size: int | None = None,
    ) -> None:
        check_batch_size(batch_size)
        self._source = model
        self._engine: Engine | None = None if callable(model) else as_engine(model)
        self._model_key = key
        self._key: Mapping[str, Any] | None = None
        self._batch_size = batch_size
        super().__init__(self.engine.identity.id if name is None else name, store=store)

    @property
    def engine(self) -> Engine:
        """What runs it; it is loaded now if it was not needed before.

        Raises:
            ModelError: It cannot be loaded.
        """
        if self._engine is None:
            self._engine = self._source() if callable(self._source) else as_engine(self._source)
        return self._engine

    def key(self) -> Mapping[str, Any] | None:
        """The model and the prompt."""
        if self._key is None and self._model_key is not None:
            self._key = {"judge": self._model_key(self.engine), "prompt": PROMPT}
        return self._key

    def ask(
        self, question: Question, responses: Sequence[str], *, progress: Progress = False
    ) -> list[float | None]:
        """See `InstructionJudge.ask`.

        Raises:
            PromptError: A response does not fit the judge's context.
            ModelError: The judge cannot be loaded.
        """
        engine = self.engine
        prompts = [PROMPT.format(response=one.strip(), question=question.text) for one in responses]
        answers = {word: _tokens(engine, word) for word in (_YES, _NO)}
        with shown(progress) as tell:
            given = engine.score(
                [prompt for prompt in prompts for _ in answers],
                [word for _ in prompts for word in answers],
                batch_size=self._batch_size,
                progress=part_of(tell, f"judging by {self.name}"),
            )
        yes, no = (len(answers[word]) for word in (_YES, _NO))
        pairs = zip(given[::2], given[1::2], strict=True)
        # Scores are means over the tokens of a word, which may be several.
        odds = [no * against - yes * favour for favour, against in pairs]
        return [one if one == one else None for one in odds]


def _tokens(engine: Engine, word: str) -> list[int]:
    tokenizer: Any = getattr(engine, "tokenizer", None)
    return [int(one) for one in tokenizer(word, add_special_tokens=False)["input_ids"]]
