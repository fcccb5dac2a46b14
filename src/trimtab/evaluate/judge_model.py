"""Quality as another model sees it: five yes/no questions for each prompt, asked of every answer to it.

A judge first writes questions by which an answer to the bare query can be told good from bad, once for each query,
and then answers them for every answer, with yes, no, or "does not apply". An answer's score is the share of yes among
yes and no. (A. Stolfo et al., Improving Instruction-Following in Language Models through Activation Steering, ICLR
2025, who had GPT-4o do both.) Any endpoint that speaks OpenAI's chat completions will do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.errors import TrimtabError
from trimtab.evaluate.cache import ContentCache
from trimtab.measure.judges.client import Endpoint, address, asking
from trimtab.progress import Progress, shown

QUESTIONS = 5
_ATTEMPTS = 3
_WRITE = """\
Someone put this request to an assistant:

<request>
{query}
</request>

Write {count} questions that tell a good answer to this request from a bad one: is it right, complete, clear, \
and does it stick to what was asked? Each must be answerable with yes or no by reading the answer, and yes must \
be the good case. Do not ask about format or length. One question a line, numbered from 1 to {count}, and \
nothing else."""
_VERDICTS = """\
An assistant got this request:

<request>
{query}
</request>

and gave this answer:

<answer>
{response}
</answer>

Judge the answer by these questions:

{questions}

For each question write one line: its number, a reason in a few words, and the verdict at the end, after an \
arrow: yes, no, or n/a if the question does not apply. For example:
1. names both causes -> yes"""
_PROMPTS = hashlib.sha256((_WRITE + _VERDICTS).encode()).hexdigest()
_NUMBERED = re.compile(r"^\W*(\d+)\s*[.:)\]-]+\**\s*(.+?)\s*$", re.MULTILINE)
_LAST_WORD = re.compile(r"\b(yes|no|n/?a|not applicable)\W*$", re.IGNORECASE)
_FIRST_WORD = re.compile(r"^\W*(yes|no|n/?a|not applicable)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    """What a judge said of one answer.

    Attributes:
        questions: What was asked.
        answers: Yes, no, or None where a question does not apply or was not answered.
    """

    questions: tuple[str, ...]
    answers: tuple[bool | None, ...]

    @property
    def score(self) -> float | None:
        """Share of yes among yes and no; None without either."""
        given = [answer for answer in self.answers if answer is not None]
        return sum(given) / len(given) if given else None


class Judge:
    """A model behind an endpoint, as a judge of answers.

    Args:
        model: The endpoint's name of the model.
        base_url: The endpoint, such as `http://localhost:8000/v1`; None takes `OPENAI_BASE_URL`, else OpenAI's own.
        api_key: Its key; None takes `OPENAI_API_KEY`. An endpoint of one's own usually asks for none.
        cache: Where questions and verdicts are kept, so that nothing is asked twice.
        workers: Requests at a time.
        timeout: Seconds until a request is given up; it is then tried again, twice.
        temperature: Of the judge's answers; None leaves it to the endpoint.

    Raises:
        TrimtabError: The `openai` client is not installed, or there is no key.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        cache: ContentCache | None = None,
        workers: int = 8,
        timeout: float = 120.0,
        temperature: float | None = 0.0,
    ) -> None:
        base_url = address(base_url)
        self.model = model
        self.base_url = base_url
        self._cache = cache or ContentCache()
        self._workers = workers
        self._temperature = temperature
        self._endpoint = Endpoint(model, base_url, api_key, timeout)

    def score(
        self,
        answers: Sequence[tuple[str, str]],
        *,
        questions: Sequence[Sequence[str]] | None = None,
        progress: Progress = False,
    ) -> list[float | None]:
        """Scores answers.

        Args:
            answers: Each a bare query and the answer to it. The same pair is judged once.
            questions: For each answer the questions to ask; an empty list lets the judge write them.
            progress: See `trimtab.progress.Progress`.

        Returns:
            A share of yes for each answer; None where no question was answered.

        Raises:
            TrimtabError: The endpoint cannot be reached, refuses, or does not answer as asked.
        """
        given = questions or [()] * len(answers)
        cases = [
            (query, response, tuple(asked)) for (query, response), asked in zip(answers, given, strict=True)
        ]
        distinct = list(dict.fromkeys(cases))
        # Every query once before its answers, so that two threads never write questions for the same one.
        own = list(dict.fromkeys(query for query, _, asked in distinct if not asked))
        stage, of = f"judging by {self.model}", len(own) + len(distinct)
        with shown(progress) as tell, asking(self._workers) as pool:
            for done, _ in enumerate(pool.map(self.questions_for, own), start=1):
                tell(stage, done, of)
            verdicts = {}
            found = pool.map(lambda case: self.verdict(*case), distinct)
            for done, (case, verdict) in enumerate(zip(distinct, found, strict=True), start=len(own) + 1):
                verdicts[case] = verdict.score
                tell(stage, done, of)
        return [verdicts[case] for case in cases]

    def questions_for(self, query: str) -> tuple[str, ...]:
        """The five questions to ask of answers to a bare query; raises as `score`."""
        key = {**self._key("questions"), "query": query, "count": QUESTIONS}
        kept = self._cache.get(key)
        if isinstance(kept, list) and len(kept) == QUESTIONS:
            return tuple(map(str, kept))
        found: dict[int, str] = {}
        for attempt in range(_ATTEMPTS):
            text = self._ask(_WRITE.format(query=query, count=QUESTIONS), again=attempt > 0)
            found = {int(number): line for number, line in _NUMBERED.findall(text)}
            if all(number in found for number in range(1, QUESTIONS + 1)):
                questions = [found[number] for number in range(1, QUESTIONS + 1)]
                self._cache.put(key, questions)
                return tuple(questions)
        raise TrimtabError(
            f"the judge {self.model} gave {len(found)} questions instead of {QUESTIONS} for {query!r:.60}; "
            "use a model that follows instructions better, or put 'questions' into the suite"
        )

    def verdict(self, query: str, response: str, questions: Sequence[str] = ()) -> Verdict:
        """What the judge says of one answer. An empty answer is no to every question, without asking.

        Raises:
            TrimtabError: As `score`.
        """
        asked = tuple(questions) or self.questions_for(query)
        if not response.strip():
            return Verdict(asked, (False,) * len(asked))
        key = {**self._key("verdict"), "query": query, "response": response, "questions": list(asked)}
        kept = self._cache.get(key)
        if isinstance(kept, list) and len(kept) == len(asked):
            return Verdict(asked, tuple(kept))
        listed = "\n".join(f"{number}. {question}" for number, question in enumerate(asked, start=1))
        prompt = _VERDICTS.format(query=query, response=response, questions=listed)
        answers: tuple[bool | None, ...] = ()
        for attempt in range(_ATTEMPTS):
            found = _verdicts(self._ask(prompt, again=attempt > 0))
            answers = tuple(found.get(number) for number in range(1, len(asked) + 1))
            if len(found.keys() & set(range(1, len(asked) + 1))) == len(asked):
                self._cache.put(key, list(answers))
                break
        return Verdict(asked, answers)

    def _key(self, kind: str) -> dict[str, Any]:
        return {
            "kind": f"judge {kind}",
            "endpoint": self.base_url,
            "model": self.model,
            "temperature": self._temperature,
            "prompts": _PROMPTS,
        }

    def _ask(self, prompt: str, *, again: bool) -> str:
        """One request. A second attempt at the same is sampled: greedily the same would come back."""
        options: dict[str, Any] = {}
        if self._temperature is not None:
            options["temperature"] = 0.7 if again else self._temperature
        return self._endpoint.ask(prompt, **options).text


def _verdicts(text: str) -> dict[int, bool | None]:
    """The verdict of each numbered line that has one; None for "does not apply"."""
    found: dict[int, bool | None] = {}
    for number, line in _NUMBERED.findall(text):
        match = _LAST_WORD.search(line) or _FIRST_WORD.search(line)
        if match:
            word = match[1].lower()
            found[int(number)] = {"yes": True, "no": False}.get(word)
    return found
