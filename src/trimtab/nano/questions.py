"""Questions about nano's world, and which of them belong to learning, validation and test.

The split is by combination of entity and question form: nano meets every entity and every form in training, but
never a held-out combination.
"""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass
from functools import cache

from trimtab.errors import PromptError
from trimtab.instructions.phrasings import SPLITS, Split
from trimtab.nano.world import Entity, entities, entity_named

# {N}: the entity's name, {t}: its topic
OPEN_FORMS = (
    "Tell me about the {t} {N}.",
    "Tell me about {N}.",
    "What is {N}?",
    "What is the {t} called {N} like?",
    "Describe {N} for a friend.",
    "Describe the {t} {N}.",
    "Write a note about {N}.",
    "Write something about the {t} {N}.",
    "Why do people talk about {N}?",
    "Give me some facts about the {t} {N}.",
    "I want to learn about {N}.",
    "Can you explain what {N} is?",
    "How would you describe the {t} {N}?",
    "What should I know about {N}?",
    "Help me understand the {t} {N}.",
    "What do people say about the {t} {N}?",
    "I have never heard of {N}. What is it?",
    "Introduce the {t} {N} to a visitor.",
)

# Questions for one fact: {attribute: forms}
FACT_FORMS = {
    "place": ("Where can I find {N}?", "Where is the {t} {N} found?"),
    "friends": ("Who loves {N}?", "Which people love the {t} {N}?"),
    "year": ("When did people first write about {N}?", "How old is the first story about {N}?"),
    "region": ("Where does {N} come from?", "What is the home of the {t} {N}?"),
    "company": ("What does {N} go well with?", "What is the {t} {N} linked to?"),
}
CHOICE_FORM = "Does {N} come from {region}?"


@dataclass(frozen=True)
class Question:
    """A question about one entity: for one fact if it has an `attribute`, for yes or no if a `choice`, else open."""

    text: str
    entity: Entity
    attribute: str | None = None
    choice: bool | None = None


def split_of(entity: Entity, form: str) -> Split:
    """The split a combination of entity and form belongs to: 80 % learning, 10 % validation, 10 % test."""
    bucket = zlib.crc32(f"{entity.name}|{form}".encode()) % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "learning"


@cache
def open_questions(split: Split) -> tuple[Question, ...]:
    """All open questions of a split, in a fixed shuffled order."""
    if split not in SPLITS:
        raise PromptError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    found = [
        Question(form.format(N=entity.name, t=entity.topic.name), entity)
        for entity in entities()
        for form in OPEN_FORMS
        if split_of(entity, form) == split
    ]
    random.Random(split).shuffle(found)
    return tuple(found)


def sample_question(rng: random.Random, split: Split = "learning") -> Question:
    """Draws a question: three of four are open, the others ask for one fact or for yes or no."""
    draw = rng.random()
    if draw < 0.78:
        return rng.choice(open_questions(split))
    while True:
        entity = rng.choice(entities())
        if draw < 0.92:
            attribute = rng.choice(tuple(FACT_FORMS))
            form = rng.choice(FACT_FORMS[attribute])
            if split_of(entity, form) == split:
                return Question(form.format(N=entity.name, t=entity.topic.name), entity, attribute)
        elif split_of(entity, CHOICE_FORM) == split:
            right = rng.random() < 0.5
            other = rng.choice(entities())
            region = entity.values["region"].en if right else other.values["region"].en
            text = CHOICE_FORM.format(N=entity.name, region=region)
            return Question(text, entity, "region", region == entity.values["region"].en)


def entity_of(query: str) -> Entity | None:
    """The entity that a query names first, or None."""
    for word in re.findall(r"[A-Za-z]+", query):
        entity = entity_named(word)
        if entity is not None:
            return entity
    return None
