"""The running batch: requests come from any thread, and one thread writes a token of each at every step."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trimtab.engines.continuous.asks import Ask, Event, Row, Running
from trimtab.engines.continuous.cache import RunningCache, is_joinable, is_recurrent, keeps_phase
from trimtab.engines.continuous.choosing import Choice, Choosing
from trimtab.engines.continuous.forward import Forward
from trimtab.engines.finite import NotFiniteError, blamed
from trimtab.errors import ModelError, PromptError, SteeringError, is_out_of_memory

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine

# Tokens of texts that are run together, padding included, on a CPU and on an accelerator.
_PREFILL_ON_CPU, _PREFILL = 4096, 32768
_PADDING = 1.5  # how much longer than their tokens texts that are run together may be with their padding


class RunningBatch:
    """A batch of a model of transformers that requests join and leave at any token.

    `submit` and `cancel` may be called from any thread, `step` from one. Between two steps the model is free for other
    uses of the engine. A row that ends frees its place at once. Models whose states cannot be put beside each other in
    one batch are run one row after the other. Where memory runs out, half as many rows run on, and the others wait.

    Args:
        engine: What runs the model.
        max_rows: The most requests that are answered at once; the others wait.
        patience: How many steps a free place may wait for others while most are taken, so that several prompts are
            run together: that takes little longer than one.
        isolates: Whether prompts whose pass fails are tried again one by one, so that none ends for another's fault.

    Raises:
        ModelError: If `max_rows` is less than 1.
    """

    def __init__(
        self, engine: TransformersEngine, max_rows: int = 32, patience: int = 4, *, isolates: bool = True
    ) -> None:
        if max_rows < 1:
            raise ModelError(f"max_rows is {max_rows}; it must be at least 1")
        self._engine = engine
        self._max_rows = self._most = 1 if keeps_phase(engine.model) else max_rows
        self._patience = patience
        self._isolates = isolates
        self._guard = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._cancelled = False
        self._waited = 0  # steps since the first of the waiting could have joined
        self._rows: list[Row] = []
        self._cache: Any = None
        # How the states of rows go together: not known before the first was run.
        self._joins: bool | None = None
        self._pads = True
        self._prefill = _PREFILL_ON_CPU if engine.device.type == "cpu" else _PREFILL
        special = engine.special_tokens
        self._ends = special.ends
        self._vocabulary = len(engine.model.get_input_embeddings().weight)
        self._forward = Forward(
            engine.model, engine.decoder_blocks, special.pad, engine.device, engine.thoughts
        )
        self._choosing = Choosing(engine.model, lambda: engine.matchers, engine.device)

    def submit(self, ask: Ask) -> Running:
        """Hands a request in; it joins when a place is free.

        Raises:
            SteeringError: An edit has a condition that is not decided.
            ModelError: An edit does not fit the model.
            PromptError: The prompt and its answer do not fit the model's context.
        """
        self._check(ask)
        running = Running(ask)
        row = Row(running, self._ends, self._engine.device)
        with self._guard:
            self._waiting.append(row)
            self._guard.notify_all()
        return running

    def cancel(self, running: Running) -> None:
        """Ends a request: its place is free at the next step. What a step under way still tells of it may come."""
        with self._guard:
            running.is_cancelled = self._cancelled = True
            self._guard.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until there is something to do for `step`; whether there is, after so many seconds at most."""
        with self._guard:
            return self._guard.wait_for(lambda: not self.is_idle, seconds)

    @property
    def is_idle(self) -> bool:
        """Whether no request is running or waiting."""
        return not (self._rows or self._waiting)

    @property
    def running(self) -> int:
        """How many requests are being answered."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    def step(self) -> Sequence[Event]:
        """Writes one token of each request that has a place, and lets others join.

        A request whose forward pass fails ends with an error; the batch goes on. Nothing is raised for it.

        Returns:
            What happened, in the order of the rows; empty where there was nothing to do.
        """
        events: list[Event] = []
        with self._engine.lock:
            self._drop_cancelled()
            if self._rows:
                events += self._advance()
            joining = self._joining()
            while joining:
                group = self._group(joining)
                joining = [row for row in joining if row not in group]
                events += self._begin(group)
            if not self._rows:
                self._cache = None
                self._forward.forget()
                if not self._waiting:
                    self._most = self._max_rows
        return events

    def _check(self, ask: Ask) -> None:
        identity = self._engine.identity
        for edit in ask.edits:
            if edit.when is not None:
                raise SteeringError(
                    f"an edit of block {edit.block} acts only if {edit.when.describe()}; decide that first "
                    "(Engine.decided), and hand in what is left"
                )
            if edit.block >= identity.blocks or edit.width != identity.width:
                raise ModelError(
                    f"an edit of block {edit.block} and width {edit.width} does not fit {identity.id}, which has "
                    f"blocks 0 to {identity.blocks - 1} of width {identity.width}"
                )
        outside = [token for token in ask.prompt_tokens if not 0 <= token < self._vocabulary]
        if outside:
            raise PromptError(
                f"the prompt has the token {outside[0]}, but those of {identity.id} are 0 to {self._vocabulary - 1}"
            )
        self._engine.encoding.check([len(ask.prompt_tokens)], new_tokens=ask.max_new_tokens)

    def _drop_cancelled(self) -> None:
        with self._guard:
            if not self._cancelled:
                return
            self._cancelled = False
            self._waiting = deque(row for row in self._waiting if not row.running.is_cancelled)
        self._leave([row for row in self._rows if row.running.is_cancelled])

    def _joining(self) -> list[Row]:
        """Takes those that join now from the waiting."""
        with self._guard:
            count = min(self._most - len(self._rows), len(self._waiting))
            if count <= 0:
                return []
            few = count < self._most // 4 and len(self._rows) >= self._most // 2
            if few and self._waited < self._patience:
                self._waited += 1
                return []
            self._waited = 0
            return [self._waiting.popleft() for _ in range(count)]

    def _wait_again(self, rows: Sequence[Row]) -> None:
        """Puts rows back in front of those that wait; they go on where they were."""
        for row in rows:
            row.cache = None
        with self._guard:
            self._waiting.extendleft(reversed(rows))

    def _group(self, rows: Sequence[Row]) -> list[Row]:
        """Those of the rows that are run together first: the longest, and others of like length."""
        rows = sorted(rows, key=lambda row: -len(row.text))
        if self._joins is False:
            return rows[:1]
        width = len(rows[0].text)
        padding = _PADDING if self._pads else 1
        tokens = count = 0
        for row in rows:
            tokens += len(row.text)
            padded = width * (count + 1)
            if count and (padded > self._prefill or padded > padding * tokens):
                break
            count += 1
        return rows[:count]

    def _begin(self, group: list[Row]) -> list[Event]:
        """Runs the texts of rows, and adds them to the batch."""
        try:
            for row in group:
                if row.processors is None:
                    self._forward.begin(row)
                    self._choosing.prepare(row)
            logits, kept = self._forward.whole(group)
        except Exception as error:  # noqa: BLE001 - a model is another's program: it can raise anything
            if len(group) > 1:
                if not (self._isolates or is_out_of_memory(error)):
                    return self._fail(group, error)
                size = len(group) // 2 if is_out_of_memory(error) else 1
                parts = [group[start : start + size] for start in range(0, len(group), size)]
                return [event for part in parts for event in self._begin(part)]
            if is_out_of_memory(error) and self._rows:
                self._most = len(self._rows)  # until one of those has ended
                self._wait_again(group)
                return []
            return self._fail(group, error)
        if self._joins is None:
            self._joins = kept is not None and is_joinable(kept)
            self._pads = self._joins and not is_recurrent(kept)
            if len(group) > 1 and not self._pads:  # nor should they have been run together
                return [event for row in group for event in self._begin([row])]
        try:
            if self._joins:
                self._cache = RunningCache(kept) if self._cache is None else self._cache
                self._cache.join(kept, max(len(row.text) for row in group))
            else:
                for row in group:
                    row.cache = kept
            self._rows += group
            return self._choose(group, logits)
        except Exception as error:  # noqa: BLE001 - as above; what was half added is of no use
            self._rows += [row for row in group if row not in self._rows]
            return self._fail(self._rows, error)

    def _advance(self) -> list[Event]:
        """One more token of each row that is in the batch."""
        together = [list(self._rows)] if self._joins else [[row] for row in self._rows]
        events: list[Event] = []
        for rows in together:
            try:
                if self._joins:
                    logits, _ = self._forward.newest(rows, self._cache, self._cache.past)
                    self._cache.advance()
                elif self._forward.keeps:
                    [row] = rows
                    logits, row.cache = self._forward.newest(rows, row.cache, len(row.text) - 1)
                else:
                    logits, _ = self._forward.whole(rows)
                events += self._choose(rows, logits)
            except Exception as error:  # noqa: BLE001 - as above
                events += self._fail(rows, error)
        return events

    def _choose(self, rows: Sequence[Row], logits: Any) -> list[Event]:
        choices = self._choosing.choose(logits, rows)
        events = [self._event(row, choice) for row, choice in zip(rows, choices, strict=True)]
        self._leave([row for row, event in zip(rows, events, strict=True) if event.ended is not None])
        return events

    def _event(self, row: Row, choice: Choice) -> Event:
        running = row.running
        if choice.error is not None:
            error = choice.error
            if isinstance(error, NotFiniteError):
                engine, edited = self._engine, bool(row.ask.edits)
                error = blamed(engine.model, engine.decoder_blocks, engine.identity.id, steered=edited)
                error.__cause__ = choice.error
            return _ended(row, error)
        told = (choice.logprob, choice.top_logprobs)
        if choice.token in row.ends:
            running.ended = "stop"
            return Event(running, None, *told, "stop")
        row.text.append(choice.token)
        running.token_ids.append(choice.token)
        self._forward.read(row, choice.token)
        if len(running.token_ids) >= row.ask.max_new_tokens:
            running.ended = "length"
        return Event(running, choice.token, *told, running.ended)

    def _fail(self, rows: Sequence[Row], error: Exception) -> list[Event]:
        """What a forward pass of these rows failed with ends them; where memory ran out, half of them go on."""
        rows = list(rows)
        self._leave(rows)
        if is_out_of_memory(error):
            if len(rows) > 1:
                self._most = len(rows) // 2
                self._wait_again(rows)
                return []
            told = ModelError(
                "writing ran out of memory with a single prompt; use a shorter prompt, a smaller dtype, or a device "
                "with more memory"
            )
            told.__cause__ = error
            error = told
        return [_ended(row, error) for row in rows]

    def _leave(self, rows: Sequence[Row]) -> None:
        gone = [place for place, row in enumerate(self._rows) if row in rows]
        if not gone:
            return
        if len(gone) == len(self._rows):
            self._rows, self._cache = [], None
        elif self._cache is None:
            self._rows = [row for row in self._rows if row not in rows]
        else:
            self._rows = [self._rows[place] for place in self._cache.leave(gone)]
            # The newest token of each is not in the cache yet.
            self._cache.narrow(max(len(row.text) - 1 for row in self._rows))


def _ended(row: Row, error: Exception) -> Event:
    row.running.ended, row.running.error = "error", error
    return Event(row.running, None, ended="error", error=error)
