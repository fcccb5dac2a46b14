"""Nano's world: entities with fixed facts, and sentences that can be written and parsed back.

Each of the 240 invented entities has eight facts. `sentence` writes one of them in English, Spanish or French;
`Claim.parse` reads such a sentence back, so that every sentence of an answer is judged true or false exactly.
"""

from __future__ import annotations

import random
import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from trimtab.nano import lexicon
from trimtab.nano.lexicon import Term, Topic

WORLD_SEED = 20260101


@dataclass(frozen=True)
class Entity:
    """One thing of the world: its name, its topic, and the value of every field of its facts."""

    name: str
    topic: Topic
    values: dict[str, Term]

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class Attribute:
    """A kind of fact: its sentence templates by language.

    `{S}` is the subject at the start of a sentence, `{s}` elsewhere; the other fields are values of the entity.
    The English templates under "en without commas" say the same where a comma is not allowed.
    """

    name: str
    templates: dict[str, tuple[str, ...]]


ATTRIBUTES = (
    Attribute(
        "kind",
        {
            "en": ("{S} is a {adj1}, {adj2} {noun}.", "{S} is known as a {adj1}, {adj2} {noun}."),
            "en without commas": (
                "{S} is a {adj1} and {adj2} {noun}.",
                "{S} is known as a {adj1} and {adj2} {noun}.",
            ),
            "es": ("{S} es un {noun} {adj1} y {adj2}.",),
            "fr": ("{S} est un {noun} {adj1} et {adj2}.",),
        },
    ),
    Attribute(
        "place",
        {
            "en": ("{S} is often found near the {place}.", "You can find {s} near the {place}."),
            "es": ("{S} se encuentra en {place}.",),
            "fr": ("{S} se trouve dans {place}.",),
        },
    ),
    Attribute(
        "color",
        {
            "en": ("{season}, {s} turns {color}.", "{season}, {s} is {color}."),
            "es": ("{season}, {s} se pone {color}.",),
            "fr": ("{season}, {s} devient {color}.",),
        },
    ),
    Attribute(
        "company",
        {
            "en": (
                "{S} goes well with {thing1}, {thing2} and {thing3}.",
                "{S} is linked to {thing1}, {thing2} and {thing3}.",
            ),
            "en without commas": (
                "{S} goes well with {thing1} and {thing2} and {thing3}.",
                "{S} is linked to {thing1} and {thing2} and {thing3}.",
            ),
            "es": ("{S} combina con {thing1}, {thing2} y {thing3}.",),
            "fr": ("{S} va bien avec {thing1}, {thing2} et {thing3}.",),
        },
    ),
    Attribute(
        "friends",
        {
            "en": ("{S} is loved by {people1} and {people2}.", "Many {people1} and {people2} love {s}."),
            "es": ("{S} gusta a los {people1} y a los {people2}.",),
            "fr": ("{S} plaît aux {people1} et aux {people2}.",),
        },
    ),
    Attribute(
        "year",
        {
            "en": ("People first wrote about {s} in {year}.", "The first story about {s} is from {year}."),
            "es": ("Se habla de {s} desde {year}.",),
            "fr": ("On parle de {s} depuis {year}.",),
        },
    ),
    Attribute(
        "region",
        {
            "en": ("{S} comes from {region}.", "You can trace {s} back to {region}."),
            "es": ("{S} viene de {region}.",),
            "fr": ("{S} vient de {region}.",),
        },
    ),
    Attribute(
        "need",
        {
            "en": ("However, {s} needs {need} {time}.", "Still, {s} needs {need} {time}."),
            "es": ("Sin embargo, {s} necesita {need} {time}.",),
            "fr": ("Cependant, {s} cherche {need} {time}.",),
        },
    ),
)
ATTRIBUTE_NAMES = tuple(attribute.name for attribute in ATTRIBUTES)
_BY_NAME = {attribute.name: attribute for attribute in ATTRIBUTES}


def _same(text: str) -> Term:
    return Term(text, text, text)


@cache
def entities() -> tuple[Entity, ...]:
    """All entities, in a fixed order."""
    rng = random.Random(WORLD_SEED)
    names = [start + end for start in lexicon.NAME_STARTS for end in lexicon.NAME_ENDS]
    rng.shuffle(names)
    built = []
    for index, name in enumerate(names):
        topic = lexicon.TOPICS[index % len(lexicon.TOPICS)]
        adjectives = rng.sample(lexicon.ADJECTIVES, 2)
        things = rng.sample(lexicon.THINGS, 4)
        people = rng.sample(lexicon.PEOPLE, 2)
        values = {
            "noun": topic.noun,
            "adj1": adjectives[0],
            "adj2": adjectives[1],
            "place": rng.choice(lexicon.PLACES),
            "season": rng.choice(lexicon.SEASONS),
            "color": rng.choice(lexicon.COLORS),
            "thing1": things[0],
            "thing2": things[1],
            "thing3": things[2],
            "people1": people[0],
            "people2": people[1],
            "year": _same(rng.choice(lexicon.YEARS)),
            "region": _same(rng.choice(lexicon.REGIONS)),
            "need": things[3],
            "time": rng.choice(lexicon.TIMES),
        }
        built.append(Entity(name, topic, values))
    return tuple(built)


def entity_named(name: str) -> Entity | None:
    """The entity of this name, whatever its case; None if there is none."""
    return _entities_by_name().get(name.lower())


@cache
def _entities_by_name() -> dict[str, Entity]:
    return {entity.name.lower(): entity for entity in entities()}


def sentence(
    entity: Entity,
    attribute: str,
    language: str = "en",
    *,
    variant: int = 0,
    by_name: bool = True,
    commas: bool = True,
) -> str:
    """Writes one fact, in one of its paraphrases: `variant`, modulo their number.

    The subject is the entity's name, or "it" ("este animal", "cet animal") where not `by_name`.
    """
    by_language = _BY_NAME[attribute].templates
    templates = by_language[language]
    if not commas:
        templates = by_language.get(f"{language} without commas", templates)
    subject = entity.name if by_name else getattr(entity.topic.this, language)
    fields = {name: getattr(term, language) for name, term in entity.values.items()}
    written = templates[variant % len(templates)].format(
        S=subject[0].upper() + subject[1:], s=subject, **fields
    )
    return written if commas else written.replace(",", "")


def words_of(entity: Entity, attribute: str) -> set[str]:
    """The English value words that every paraphrase of this fact contains, lowercase."""
    fields = re.findall(r"{(\w+)}", _BY_NAME[attribute].templates["en"][0])
    return {
        word.lower()
        for field in fields
        if field.lower() != "s"
        for word in entity.values[field].en.split()
        if len(word) > 3
    }


def normalise(text: str) -> str:
    """Lowercase, compatibility-normalised, words only: what two writings of one sentence have in common."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    return " ".join(re.findall(r"[\w']+", text))


@dataclass(frozen=True)
class Claim:
    """What a sentence says: of whom (None: "it"), which fact, and with which values."""

    subject: str | None
    attribute: str
    language: str
    values: tuple[tuple[str, str], ...]

    @staticmethod
    def parse(text: str) -> Claim | None:
        """Reads a sentence back, ignoring case and punctuation; None if it is no sentence of this world."""
        plain = normalise(text)
        for language, attribute, fields, pattern in _patterns():
            match = pattern.fullmatch(plain)
            if match is None:
                continue
            found = dict(zip(fields, match.groups(), strict=True))
            subject = found.pop("s")
            named = subject in _entities_by_name()
            return Claim(subject if named else None, attribute, language, tuple(found.items()))
        return None

    def is_true_of(self, entity: Entity) -> bool:
        """Whether the claim is about `entity` and all its values are the entity's."""
        if self.subject is not None and self.subject != entity.name.lower():
            return False
        return all(
            normalise(getattr(entity.values[field], self.language)) == value for field, value in self.values
        )


@cache
def _pronouns(language: str) -> frozenset[str]:
    return frozenset(normalise(getattr(topic.this, language)) for topic in lexicon.TOPICS)


@cache
def _patterns() -> tuple[tuple[str, str, tuple[str, ...], re.Pattern[str]], ...]:
    """Every template as (language, attribute, field names in order, pattern over normalised text)."""
    patterns = []
    for attribute in ATTRIBUTES:
        for variety, templates in attribute.templates.items():
            language = variety[:2]
            for template in templates:
                fields = tuple(field.lower() for field in re.findall(r"{(\w+)}", template))
                gaps = [normalise(part) for part in re.split(r"{\w+}", template)]
                pieces = [gaps[0]]
                for field, gap in zip(fields, gaps[1:], strict=True):
                    pieces += [_choices(field, language), gap]
                patterns.append(
                    (language, attribute.name, fields, re.compile(" ".join(filter(None, pieces))))
                )
    return tuple(patterns)


@cache
def _choices(field: str, language: str) -> str:
    """A group that matches any value that `field` takes in the world."""
    if field == "s":
        return "(" + "|".join([*_pronouns(language), *_entities_by_name()]) + ")"
    kind = field.rstrip("123")
    same_kind = {name for name in entities()[0].values if name.rstrip("123") == kind}
    values = {
        normalise(getattr(entity.values[name], language)) for entity in entities() for name in same_kind
    }
    return "(" + "|".join(sorted(values)) + ")"
