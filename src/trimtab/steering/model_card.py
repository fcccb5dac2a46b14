"""The card of a saved steering, `README.md`: what it does, for which model, how to use it, what it measured, limits.

It is made of the record, and so says nothing that was not measured. A card that somebody wrote is never written over:
ours ends with a mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab import instructions
from trimtab.errors import InstructionError, SteeringError
from trimtab.files import read_text, write_text
from trimtab.steering.card import edits_and_whens
from trimtab.steering.folder import CARD
from trimtab.steering.record import ModelIdentity, Record, short

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering

_MARK = "<!-- Written by trimtab. Take this line away to keep a text of your own. -->"
_QUALITIES = {
    "perplexity": "perplexity",
    "repetition": "repetition",
    "tokens": "tokens",
    "scorer_perplexity": "perplexity under the scorer",
    "relevance": "relevance",
    "facts": "facts",
}
_QUESTION = "Tell me about the tides."


def write_card(steering: Steering, folder: Path, license_name: str | None = None) -> None:
    """Write the card beside a steering's files, unless somebody wrote their own; one of ours keeps its license."""
    path = folder / CARD
    own, license_kept = card_beside(path)
    if own is not None:
        return
    place = folder if folder.name else folder.resolve()  # "." has no name to serve it under
    write_text(path, model_card(steering, place, license_name or license_kept))


def card_beside(path: Path) -> tuple[str | None, str | None]:
    """The card that somebody wrote or made their own, if there is one; and the license that one of ours names."""
    if not path.exists():
        return None, None
    found = read_text(path)
    if _MARK not in found:
        return found, None
    from huggingface_hub import ModelCard

    try:
        data = ModelCard(found, ignore_metadata_errors=True).data
    except Exception as error:  # the parser of YAML and what is made of it raise whatever they raise
        raise SteeringError(
            f"the head of the card {path} cannot be read ({type(error).__name__}); mend it, or remove the card"
        ) from error
    return None, getattr(data, "license", None)


def model_card(steering: Steering, place: str | Path, license_name: str | None = None) -> str:
    """The card: YAML for the Hub, then Markdown. The place is a repository of the Hub, or (a `Path`) a folder."""
    from huggingface_hub import ModelCard, ModelCardData

    model, wanted = steering.record.model, _wanted(steering)
    data = ModelCardData(
        library_name="trimtab",
        base_model=model.id if model.id.count("/") == 1 and not model.id.startswith(".") else None,
        license=license_name,
        tags=["activation-steering", "steering", *dict.fromkeys(one.name for one in wanted)],
    )
    parts = [
        f"# {steering.name}",
        _what(steering, wanted),
        _use(steering, place),
        "\n".join(_measured(steering.record)),
        "\n".join(_samples(steering.record.measurements.get("samples"))),
        _limits(steering),
        _MARK,
    ]
    body = "\n\n".join(part for part in parts if part)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n", ignore_metadata_errors=True))


def _wanted(steering: Steering) -> list[Instruction]:
    """Its instructions, less those that are not known here: a package of its own may bring them."""
    found = []
    for item in steering.record.instructions:
        try:
            found.append(instructions.from_dict(item))
        except InstructionError:
            continue
    return found


def _what(steering: Steering, wanted: list[Instruction]) -> str:
    record = steering.record
    edits, whens = edits_and_whens(steering)
    accepts_all = record.settings.get("accept") == "all"
    lines = [
        "A steering for [trimtab](https://pypi.org/project/trimtab/): small changes of what a model computes inside,",
        "by which it follows an instruction without being told. The weights of the model stay as they are.",
        "",
        f"- **Model:** {record.model}",
        *(f"- **Instruction:** `{one.label}`, as in “{one.phrasings('test')[0]}”" for one in wanted),
        *(f"- **{label.capitalize()}** {when}" for label, when in whens),
        f"- **Method:** {record.method}" + (f", {record.created}" if record.created else ""),
        *(["- **Lessons:** all told answers, whether they follow or not"] if accepts_all else []),
        *(f"- **Block {block}:** {text}" for block, text in edits),
        f"- **Made by** trimtab {record.version}",
    ]
    return "\n".join(lines)


def _use(steering: Steering, place: str | Path) -> str:
    model = steering.record.model
    plain = "/" not in model.id or model.id.lower().endswith(".gguf")  # built in, or from a folder or a file
    loaded = (
        f'engine = trimtab.load("{model.id}")\nmodel, tokenizer = engine.model, engine.tokenizer'
        if plain
        else f'tokenizer = AutoTokenizer.from_pretrained("{model.id}")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{model.id}", device_map="auto")'
    )
    imported = "" if plain else "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
    inputs = (
        f'inputs = tokenizer("{_QUESTION}", return_tensors="pt").to(model.device)'
        if model.chat_template == "plain"
        else f'chat = [{{"role": "user", "content": "{_QUESTION}"}}]\n'
        "inputs = tokenizer.apply_chat_template(\n"
        '    chat, add_generation_prompt=True, return_dict=True, return_tensors="pt"\n).to(model.device)'
    )
    name = Path(place).name
    served = (
        f"trimtab serve {model.id} --steerings {place.parent}\n"
        if isinstance(place, Path)
        else f"trimtab serve {model.id} --upload\n"
        "curl localhost:8000/v1/steerings/load -H 'Content-Type: application/json' -d '{\"hub\": \""
        + place
        + "\"}'\n"
    )
    return f'''## Use it

In Python, on a model of transformers (`pip install trimtab`):

```python
import trimtab
{imported}{loaded}
steering = trimtab.Steering.from_pretrained("{place}")

{inputs}
with steering.on(model):
    answer = model.generate(**inputs, max_new_tokens=256)
print(tokenizer.decode(answer[0], skip_special_tokens=True))
```

On the command line:

```sh
trimtab generate --model {model.id} --steering {place} "{_QUESTION}"
```

On a server that speaks OpenAI's API (`pip install 'trimtab[vllm]'`):

```sh
{served}curl localhost:8000/v1/chat/completions -H 'Content-Type: application/json' -d '{{
  "model": "{model.id}:{name}", "messages": [{{"role": "user", "content": "{_QUESTION}"}}]}}'
```'''


def _measured(record: Record) -> Iterator[str]:
    """The table: a line for each set of prompts and condition; and what is wrong with it."""
    measurements = record.measurements
    rows = [
        (name, condition, figures)
        for name, found in measurements.items()
        if isinstance(found, Mapping)
        for condition, figures in _conditions(found)
    ]
    yield "## Measured\n"
    if not rows:
        yield "Nothing was measured yet; `trimtab evaluate` does it."
        return
    qualities = [name for name in _QUALITIES if any(_quality(row, name) for _, _, row in rows)]
    yield f"| {' | '.join(['prompts', 'condition', 'number', 'followed', *(_QUALITIES[one] for one in qualities)])} |"
    yield f"|---|---|{'---:|' * (2 + len(qualities))}"
    for name, condition, figures in rows:
        values = [_number(figures.get("followed")), *(_quality(figures, one) for one in qualities)]
        cells = [name, condition, str(figures.get("n", "–")), *(value or "–" for value in values)]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        "*followed* is the share of answers that pass the instruction's strict check; *instructed* is the model told "
        "in the prompt, *steered* the model with this steering and not told, *baseline* neither."
    )
    if judges := record.judges:
        yield f"\nNo program checks this: what follows was judged by {', '.join(judges)}, in the place of a check."
    for name, words in record.out_of_bounds.items():
        yield f"\n**Quality is out of bounds on {name}, beside plain answers: {', '.join(words)}.**"
    if measurements.get("improved") is False:
        yield "\n**It did not do better than the unsteered model where it was chosen.**"


def _conditions(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What was measured, by condition: as evaluations write it, or the flat form of learning and tuning."""
    for condition in ("baseline", "instructed"):
        if f"{condition}_followed" in found:
            yield condition, {"n": found.get("n"), "followed": found[f"{condition}_followed"]}
    if "followed" in found:
        yield "steered", found
    yield from (
        (name, figures)
        for name, figures in found.items()
        if isinstance(figures, Mapping) and "followed" in figures
    )


def _number(value: Any) -> str:
    return "" if isinstance(value, bool) or not isinstance(value, int | float) else f"{value:.3g}"


def _quality(figures: Mapping[str, Any], name: str) -> str:
    quality = figures.get("quality")
    return _number(quality.get(name)) if isinstance(quality, Mapping) else ""


def _samples(samples: Any) -> Iterator[str]:
    if not isinstance(samples, list) or not samples:
        return
    yield "## Samples"
    for sample in samples:
        if isinstance(sample, Mapping):
            yield f"\n**{' '.join(str(sample.get('query', '')).split())}**\n"
            for condition, text in sample.items():
                if condition != "query":
                    quoted = "\n".join(f"> {line}".rstrip() for line in str(text).splitlines())
                    yield f"*{condition}*\n\n{quoted}\n"


def _limits(steering: Steering) -> str:
    model: ModelIdentity = steering.record.model
    template = (
        "its plain format"
        if model.chat_template == "plain"
        else f"the chat template {short(model.chat_template)}"
    )
    return f"""## Limits

- It is for {model}, with {template}, and for no other: trimtab refuses others unless told to allow them.
- It makes the instruction likely, it does not guarantee it: check answers (`trimtab check`, `trimtab follow`).
- It was measured on the prompts and in the language it was learned on, at strength 1, with greedy decoding. Elsewhere,
  and together with other steerings, measure it (`trimtab evaluate`).
- What following costs is in the table where it was measured: higher perplexity and repetition, fewer true facts."""
