"""The table of readers of files: how to write what each reads, and how to read it as a user's work would."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tests.fuzzing.servers import read_zip, write_zip

from trimtab import formats
from trimtab.errors import TrimtabError
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering

IDENTITY = ModelIdentity("tiny", None, "llama", 3, 16, "plain")
D = torch.linspace(-1, 1, 16)


@dataclass(frozen=True)
class Reader:
    """What reads files.

    Attributes:
        name: What a table calls it.
        write: Fills a folder with whole files.
        read: Reads the folder and goes on with what was found, as a command would. What it gives is compared.
        damage: The files that are damaged; all if empty.
        same: What is read of a damaged file must be what was written: there is a checksum.
        prepare: Called after the damage, on the folder: what a forger would do, such as a checksum made anew.
        slow: Each reading takes a good part of a second.
    """

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], Any]
    damage: tuple[str, ...] = ()
    same: bool = False
    prepare: Callable[[Path], None] = field(default=lambda folder: None)
    slow: bool = False


# --- steerings ------------------------------------------------------------------------------------------------------


def steering() -> Steering:
    """Every kind of edit, with conditions, a record and measurements."""
    from trimtab.steering.when import Matches, Resembles

    here = Matches("rocket") | ~Resembles(IDENTITY, 1, D, 0.2)
    edits = (
        Edit.add(0, D, 2.0),
        Edit(1, D, alpha=0.5, p=-D, tokens="generated", when=here),
        Edit.set_projection(2, D, 1.0),
    )
    record = Record(
        IDENTITY,
        ({"name": "json", "params": {}}, {"name": "sentences", "params": {"at_most": 2}}),
        method="distilled",
        settings={"block": 1, "strength": 2.0, "teacher": "told", "lessons": {"asked": 8, "passed": 6}},
        measurements={
            "validation": {"steered": {"followed": 1.0, "n": 8, "out_of_bounds": ["repetition"]}},
            "samples": [{"query": "why", "baseline": "so", "steered": "{}"}],
        },
    )
    return Steering("json", edits, record)


def _used(found: Steering) -> Any:
    """What commands do with a steering before a model sees it."""
    from trimtab.steering.model_card import model_card

    texts = [found.describe(), repr(found), str(found), model_card(found, "owner/name")]
    (found * 0.5 + found).always().digest()
    for when in found.whens:
        when.describe().encode()
        if not when.readings:
            refusal_or(lambda when=when: when.holds("why is a rocket " + "a" * 200, _unread))  # type: ignore[misc]
    for text in texts:
        text.encode()
    return found.digest()


def _unread(block: int, tokens: Any) -> Any:
    raise AssertionError("nothing is read")


def _sign(folder: Path) -> None:
    """Makes the checksums anew: a document that somebody wrote so, and no accident."""
    from trimtab.steering.documents import canonical_digest, sha256

    for stem in ("steering", "directions"):
        path = folder / f"{stem}.json"
        if not path.exists():
            continue
        try:
            document = json.loads(path.read_bytes())
            del document["checksums"]
            checksums = {
                "document": canonical_digest(document),
                "tensors": sha256((folder / f"{stem}.safetensors").read_bytes()),
            }
            path.write_bytes(json.dumps({**document, "checksums": checksums}).encode())
        except (ValueError, TypeError, KeyError, RecursionError):
            return


def _directions() -> Any:
    from trimtab.learn.directions import Directions

    return Directions(
        name="json",
        model=IDENTITY,
        method="mean_difference",
        blocks=(0, 1, 2),
        directions=torch.nn.functional.normalize(torch.ones(3, 16), dim=1),
        instructed=torch.tensor([1.0, 2.0, 3.0]),
        plain=torch.tensor([0.0, 0.5, 1.0]),
        difference_norm=torch.tensor([1.0, 1.5, 2.0]),
        prompts="sha256:0",
        pairs=4,
        instruction={"name": "json", "params": {}},
    )


def _read_directions(folder: Path) -> Any:
    from trimtab.learn.directions import Directions

    found = Directions.load(folder)
    _used(found.add(found.blocks[0], 1.0))
    _used(found.set_projection(found.blocks[0], 1.0))
    return found.digest()


def _write_card(folder: Path) -> None:
    from trimtab.steering.model_card import write_card

    steering().save(folder)
    write_card(steering(), folder, "mit")


def _read_card(folder: Path) -> Any:
    from trimtab.steering.model_card import write_card

    write_card(steering(), folder)
    return None


def _packed(folder: Path) -> None:
    from trimtab.vllm.packing import pack_edits

    (folder / "edits").write_bytes(pack_edits((Edit.add(0, D, 2.0), Edit(1, D, alpha=0.5, p=-D))))


def _unpacked(folder: Path) -> Any:
    from trimtab.serve.rows import digest_of
    from trimtab.vllm.packing import unpack_edits

    return digest_of(unpack_edits((folder / "edits").read_bytes()))


# --- files of other libraries ---------------------------------------------------------------------------------------


def _foreign(name: str, ending: str, *edits: Edit, **options: Any) -> Reader:
    def write(folder: Path) -> None:
        path = folder / f"file{ending}"
        formats.write(Steering("shout", edits, Record(IDENTITY)), path, name, options=options)

    def read(folder: Path) -> Any:
        path = folder / f"file{ending}"
        formats.recognised(path)
        found = formats.read(path, IDENTITY, name)
        size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
        held = [vector for edit in found.edits for vector in (edit.u, edit.p) if vector is not None]
        assert sum(vector.nbytes for vector in held) <= 8 * size
        return _used(found) and None

    return Reader(f"import: {name}", write, read)


def _write_pickled_table(folder: Path) -> None:
    from tests.formats.test_llm_steer_instruct import row, table

    table(folder / "file.h5", row("punctuation:no_comma", -1), row())


def _read_pickled_table(folder: Path) -> Any:
    return _used(formats.read(folder / "file.h5", IDENTITY, allow_pickle=True)) and None


# --- instructions ---------------------------------------------------------------------------------------------------

TOML = """\
[fuzzed_greeting]
summary = "Says hello."
phrasings = ["Say hello.", "Begin with hello.", "Greet first.", "Greet me.", "Hello first."]
regex = "^hello( there)*\\\\b"
ignore_case = true
conflicts = ["json"]

[fuzzed_schema]
phrasings = { learning = ["As the schema says."], validation = ["Fill it in."], test = ["By the schema."] }
json_schema = { type = "object", required = ["a"], properties = { a = { type = "integer" } } }

[fuzzed_file]
phrasings = ["Fill in the form.", "Write the form.", "The form, please."]
json_schema = "schema.json"

[fuzzed_tone]
phrasings = ["Be kind.", "Kindly.", "With kindness."]
judge = "Is this kind?"
follows = ["Dear friend"]
fails = ["Go away"]
"""
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}, "more": {"$ref": "#/$defs/more"}},
    "$defs": {"more": {"type": "array", "items": {"type": "number"}, "maxItems": 3}},
}
ANSWERS = ("hello there", '{"a": 1}', '{"name": "x", "more": [1, 2]}', "a" * 3000 + "!", "[" * 500)


def _write_toml(folder: Path) -> None:
    (folder / "own.toml").write_text(TOML)
    (folder / "schema.json").write_text(json.dumps(SCHEMA))


def _read_toml(folder: Path) -> Any:
    from trimtab.instructions import load_file
    from trimtab.instructions.registry import REGISTER

    made = load_file(folder / "own.toml", replace=True)
    try:
        for kind in made:
            one = kind()
            one.phrasings("learning")
            one.constraint()
            for answer in ANSWERS:
                if kind.question is None:
                    refusal_or(lambda one=one, answer=answer: one.check(answer))  # type: ignore[misc]
    finally:
        for kind in made:
            REGISTER.remove(kind.name)
    return None


def refusal_or(call: Callable[[], Any]) -> Any:
    """What a call gives, or None where it is refused in one line: the next call is still to be tried."""
    try:
        return call()
    except TrimtabError:
        return None


def _read_schema(folder: Path) -> Any:
    from trimtab.cli.constraining import ConstraintChoice

    held = ConstraintChoice(constrain_schema=folder / "schema.json")
    return [one.possible if one else None for one in held.of(["why"])] and None


def _read_grammar(folder: Path) -> Any:
    from trimtab.cli.constraining import ConstraintChoice

    held = ConstraintChoice(constrain_grammar=folder / "grammar.lark")
    return [one.possible if one else None for one in held.of(["why"])] and None


# --- prompts, suites, results ---------------------------------------------------------------------------------------

PROMPTS = ["name a rocket", "what is the sea like?", "Größe 火箭 🚀", "tell me of the moon"]


def _prompts(ending: str) -> Reader:
    def write(folder: Path) -> None:
        rows = (
            [json.dumps({"query": one}) for one in PROMPTS]
            if ending == "jsonl"
            else [f'"{one}"' for one in ("prompt", *PROMPTS)]
            if ending == "csv"
            else PROMPTS
        )
        (folder / f"prompts.{ending}").write_text("\n".join(rows) + "\n", encoding="utf-8")

    def read(folder: Path) -> Any:
        from trimtab.cli.steerings import read_prompts

        found = read_prompts(None, folder / f"prompts.{ending}")
        assert all(one.strip() and one.encode() for one in found)

    return Reader(f"prompts: .{ending}", write, read)


SUITE = [
    {
        "key": "one",
        "query": "why?",
        "instructions": ["json", {"name": "sentences", "params": {"at_most": 2}}],
    },
    {"key": "two", "prompt": "why? In lower case.", "query": "why?", "instructions": ["lowercase"]},
    {
        "key": 3,
        "prompt": "Why? Do not use commas.",
        "instruction_id_list": ["punctuation:no_comma", "keywords:existence"],
        "kwargs": [{}, {"keywords": ["sea"]}],
        "prompt_without_instruction": "Why?",
        "questions": ["Is it short?"],
    },
]


def _write_suite(folder: Path) -> None:
    (folder / "suite.jsonl").write_text("".join(json.dumps(one) + "\n" for one in SUITE))
    (folder / "bare.jsonl").write_text(json.dumps({"key": "two", "query": "why though?"}) + "\n")


def _read_suite(folder: Path) -> Any:
    from trimtab.evaluate import suites

    found = suites.load(folder / "suite.jsonl")
    for item in found.items:
        for one in item.instructions:
            refusal_or(lambda one=one: one.check("some words, and more."))  # type: ignore[misc]
    refusal_or(lambda: suites.load(folder / "suite.jsonl", bare=folder / "bare.jsonl"))
    return None


SEARCH = {
    "instruction": {"name": "json", "params": {}},
    "candidates": [
        {"block": 1, "strength": 1.0, "n": 8, "good": 0.5, "followed": 0.5, "rejected": []},
        {"block": 2, "strength": 2.0, "n": 8, "good": 0.25, "followed": 0.5, "rejected": ["repetition"]},
    ],
    "improved": True,
}


def _read_search(folder: Path) -> Any:
    from trimtab.report import search

    found = search.read(folder / "search.json")
    found.drawing, found.caption  # noqa: B018
    return None


def _read_answers(folder: Path) -> Any:
    from trimtab.cli.check import _read_rows

    return len(_read_rows(str(folder / "answers.jsonl"))) and None


def _read_labelled(folder: Path) -> Any:
    from trimtab.measure.judges.agreement import labelled

    return len(labelled(folder / "labelled.jsonl")) and None


# --- what is kept between runs --------------------------------------------------------------------------------------

KEY = {"prompt": "why", "steering": None, "numbers": [1, 2.5]}
VALUE = {"text": "because it is so", "finished": True, "ids": [1, 2, 3]}


def _write_cache(folder: Path) -> None:
    from trimtab.evaluate.cache import ContentCache

    ContentCache(folder).put(KEY, VALUE)


def _read_cache(folder: Path) -> Any:
    from trimtab.evaluate.cache import ContentCache

    found = ContentCache(folder).get(KEY)
    return VALUE if found is None else found  # an entry that is not whole is none, and asked for anew


def _lessons() -> Any:
    from trimtab.constraint import Constraint
    from trimtab.learn.distillation.lessons import Lesson, Lessons

    one = Lesson("plain", (5, 6, 7), (5, 6, 8), (9, 10, 2), constraint=Constraint.regex("[a-z]+"))
    return Lessons(
        (one, Lesson("instructed", (5,), (5,), (9, 2))), asked=2, passed=2, answers=2, first_time=1.0
    )


def _keep_lessons(folder: Path) -> Any:
    from trimtab.engines.ranks import Ranks
    from trimtab.learn.distillation.lesson_files import kept_lessons

    return kept_lessons(folder / "lessons.json", ["these"], Ranks(), _lessons)


@cache
def _engine() -> Any:
    from tests.tiny import tiny_engine

    return tiny_engine("llama")


def _course() -> Any:
    from trimtab.engines.ranks import Ranks
    from trimtab.learn.distillation.lessons import Lesson
    from trimtab.learn.distillation.schedule import Schedule
    from trimtab.learn.distillation.trainable import TrainableEdits
    from trimtab.learn.distillation.training import Course

    starts = {block: torch.zeros(32) for block in range(2)}
    lessons = [Lesson("plain", (5 + n, 6), (5 + n, 6, 7), (8, 9, 2)) for n in range(3)]
    edits = TrainableEdits(dict.fromkeys(starts, 1.0), starts)
    return Course(
        _engine(), edits, lessons, lessons[:1], Schedule(steps=2, batch_size=2, save_every=1), Ranks()
    )


def _write_course(folder: Path) -> None:
    _course().run(folder=folder)


def _read_course(folder: Path) -> Any:
    taken = _course()
    taken._resume(folder)
    return [(name, value.tolist()) for name, value in sorted(taken._copy().items())], len(taken.history)


# --- models ---------------------------------------------------------------------------------------------------------


def _write_model(folder: Path) -> None:
    engine = _engine()
    engine.model.save_pretrained(folder / "model")
    engine.tokenizer.save_pretrained(folder / "model")


def _read_model(folder: Path) -> Any:
    import trimtab

    return trimtab.load(folder / "model", device="cpu").generate(["why"], max_new_tokens=2) and None


def _write_gguf(folder: Path) -> None:
    from tests.tiny_gguf import tiny_gguf

    tiny_gguf(folder / "tiny.gguf")


def _read_gguf(folder: Path) -> Any:
    import trimtab

    return trimtab.load(folder / "tiny.gguf", device="cpu").generate(["why"], max_new_tokens=2) and None


def _written(name: str, content: Any) -> Callable[[Path], object]:
    rows = content if isinstance(content, list) else None

    def write(folder: Path) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text if rows is None else "".join(json.dumps(one) + "\n" for one in rows))

    return write


READERS: tuple[Reader, ...] = (
    Reader(
        "steering",
        lambda folder: steering().save(folder),
        lambda folder: _used(Steering.load(folder)),
        same=True,
    ),
    Reader(
        "steering, checksums made anew",
        lambda folder: steering().save(folder),
        lambda folder: _used(Steering.load(folder)) and None,
        prepare=_sign,
    ),
    Reader("directions", lambda folder: _directions().save(folder), _read_directions, same=True),
    Reader(
        "directions, checksums made anew",
        lambda folder: _directions().save(folder),
        lambda folder: _read_directions(folder) and None,
        prepare=_sign,
    ),
    Reader("steering's card", _write_card, _read_card, damage=("README.md",)),
    Reader("edits for vLLM's workers", _packed, _unpacked, same=True),
    _foreign("gguf", ".gguf", Edit.add(1, D), Edit.add(2, D, 2.0)),
    _foreign("lm-eval", ".pt", Edit.add(1, D), Edit.set_projection(2, D, 1.0)),
    _foreign("svec", ".svec", Edit.add(0, D), Edit.add(1, D)),
    _foreign("vllm-hook", ".json", Edit.set_projection(1, D, 3.0)),
    _foreign("easyedit", "", Edit.add(1, D), Edit.add(2, D)),
    _foreign("pyreft", "", Edit(1, D / D.norm(), alpha=0.5, p=D)),
    _foreign("peft", "", Edit.add(1, D), Edit.add(2, D), inner=24),
    *(
        [Reader("import: llm-steer-instruct", _write_pickled_table, _read_pickled_table)]
        if find_spec("h5py")
        else []
    ),
    Reader("instructions: .toml", _write_toml, _read_toml),
    Reader("constraint: JSON schema", _written("schema.json", SCHEMA), _read_schema),
    Reader("constraint: grammar", _written("grammar.lark", 'start: "a" | /[b-z]+/ ","'), _read_grammar),
    _prompts("txt"),
    _prompts("jsonl"),
    _prompts("csv"),
    Reader("suite", _write_suite, _read_suite),
    Reader("search (tune --json)", _written("search.json", SEARCH), _read_search),
    Reader(
        "answers to check",
        _written("answers.jsonl", [{"response": "a", "query": "b"}, {"response": "{}"}]),
        _read_answers,
    ),
    Reader(
        "labelled answers",
        _written("labelled.jsonl", [{"tone": "formal", "answer": "Dear Sir", "verdict": True}]),
        _read_labelled,
    ),
    Reader("cache of answers", _write_cache, _read_cache, same=True),
    Reader("lessons", _keep_lessons, _keep_lessons, same=True),
    Reader("course of training", _write_course, _read_course, same=True),
    Reader("page: a zip file", write_zip, lambda folder: read_zip(folder) and None),
    Reader("model: folder", _write_model, _read_model, slow=True),
    Reader("model: GGUF", _write_gguf, _read_gguf, slow=True),
)


@dataclass(frozen=True)
class Whole:
    """The whole files of a reader, and what reading them gives."""

    files: Mapping[str, bytes]
    value: Any

    def restore(self, folder: Path) -> None:
        """Writes the whole files over whatever is there."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def whole_of(reader: Reader, folder: Path) -> Whole:
    """Writes the files of a reader and reads them; this also imports what reading imports."""
    folder.mkdir(parents=True, exist_ok=True)
    reader.write(folder)
    files = {
        str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()
    }
    return Whole(files, refusal_or(lambda: reader.read(folder)))  # a .csv is refused when it is whole, too
