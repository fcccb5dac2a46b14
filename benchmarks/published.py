"""What the outputs that the authors of arXiv 2410.12877 published say, counted again for `trimtab reproduce`.

    git clone https://github.com/microsoft/llm-steer-instruct
    python -m benchmarks.published llm-steer-instruct

Their repository (MIT licence) kept the outputs of its experiments until commit a03dcb3 (words: 91e8306). This counts
their verdicts, and sentences by Punkt as their scripts do, writes the package's data file with `--write`, and judges
the same answers by this project's own checks: so far may figures of both be compared.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.running import run
from trimtab.errors import TrimtabError
from trimtab.evaluate.suite_files import read_items
from trimtab.files import write_text
from trimtab.instructions import sentences
from trimtab.instructions.splitting import count_sentences

Row = dict[str, Any]
Counts = dict[str, Any]
Reading = tuple[list[Row], list[bool]]

FORMAT = (
    "change_case:capital_word_frequency change_case:english_capital change_case:english_lowercase "
    "detectable_format:constrained_response detectable_format:json_format detectable_format:multiple_sections "
    "detectable_format:number_bullet_lists detectable_format:number_highlighted_sections detectable_format:title "
    "language:response_language punctuation:no_comma startend:end_checker startend:quotation"
).split()
"""The instructions of their format experiment; some runs hold others as well, which their figures leave out."""

OUTPUTS, WORD_OUTPUTS = "a03dcb3^", "91e8306^"
_FORMAT_RUNS = {
    "baseline": "no_instr",
    "instructed": "standard",
    "steered": "adjust_rs_-1_perplexity",
    "instructed+steered": "instr_plus_adjust_rs_-1_perplexity",
}
_MODELS = {
    "phi-3": ("Phi-3-mini-4k-instruct", "phi-3"),
    "gemma-2-2b": ("Gemma-2-2b-it", "gemma-2-2b-it"),
    "gemma-2-9b": ("Gemma-2-9b-it", "gemma-2-9b-it"),
    "mistral-7b": ("Mistral-7B-Instruct-v0.1", "mistral-7b-instruct"),
}
_WORDS = {
    ("phi-3", "include"): ("existence", 120),
    ("phi-3", "exclude"): ("forbidden", -150),
    ("gemma-2-2b", "include"): ("existence", 120),
    ("gemma-2-2b", "exclude"): ("forbidden", -200),
}
_BASES = {
    "without text": {
        "no steering": "no_instr",
        "same-model vector": "adjust_rs_-1_perplexity",
        "cross-model vector": "adjust_rs_-1_perplexity_cross_model",
    },
    "with text": {
        "no steering": "standard",
        "same-model vector": "instr_plus_adjust_rs_-1_perplexity",
        "cross-model vector": "instr_plus_adjust_rs_-1_perplexity_cross_model",
    },
}
_COMPOSED = {
    "no steering, without text": "no_instr/no_steeringno_length_steering",
    "format + length, without text": "no_instr/adjust_rs_-1_perplexity_conciseness_L12_w20",
    "no steering, with text": "instr_w_length_instr/no_steering_none_L12_w20",
    "format + length, with text": "instr_w_length_instr/adjust_rs_-1_perplexity_conciseness_L12_w20",
}


class Repository:
    """A clone, read at a commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, path: str, commit: str = OUTPUTS) -> list[Row]:
        """The objects of a JSON lines file."""
        command = ["git", "-C", str(self.folder), "show", f"{commit}:{path}"]
        try:
            text = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8")
        except (OSError, subprocess.CalledProcessError) as error:
            raise TrimtabError(
                f"{self.folder} has no {path} at {commit}: give a full clone of microsoft/llm-steer-instruct"
            ) from error
        return [json.loads(line) for line in text.split("\n") if line.strip()]


def of_format(repository: Repository, folder: str, way: str, check: str) -> Reading:
    """The answers of one run of the format experiment, and their verdicts by one check."""
    path = f"format/out/{folder}/single_instr/all_base_x_all_instr/{way}"
    kept = [
        row
        for row in repository.rows(f"{path}/eval_results_{check}.jsonl")
        if row["instruction_id_list"][0] in FORMAT
    ]
    asked = {row["response"]: row for row in repository.rows(f"{path}/out.jsonl")}
    for row in kept:
        row["kwargs"] = asked.get(row["response"], {}).get("kwargs")
    return kept, [bool(row["follow_all_instructions"]) for row in kept]


def counted(rows: Iterable[tuple[str, list[bool]]]) -> Counts:
    """How many are true under each name, and of how many."""
    found = {name: (sum(verdicts), len(verdicts)) for name, verdicts in rows}
    (n,) = {n for _, n in found.values()}
    return {"n": n, "followed": {name: followed for name, (followed, _) in found.items()}}


def recount(repository: Repository) -> tuple[dict[str, Any], dict[str, tuple[int, int]]]:
    """All figures, as the data file has them; and of how many answers both sides' checks say the same, by kind."""
    agreed: dict[str, tuple[int, int]] = {}
    models: dict[str, Any] = {}
    for key, (name, folder) in _MODELS.items():
        runs = dict(_FORMAT_RUNS, instructed="standard_no_hf" if key == "gemma-2-9b" else "standard")
        read = {
            check: {one: of_format(repository, folder, way, check) for one, way in runs.items()}
            for check in ("loose", "strict")
        }
        for check, conditions in read.items():
            for part in conditions.values():
                _add(agreed, f"format, {check}", *part, check=check)
        loose = read["loose"]
        models[key] = {
            "name": name,
            "format": {
                check: counted((one, verdicts) for one, (_, verdicts) in conditions.items())
                for check, conditions in read.items()
            },
            "format by instruction": {
                id_: counted(
                    (
                        one,
                        [ok for row, ok in zip(*part, strict=True) if row["instruction_id_list"][0] == id_],
                    )
                    for one, part in loose.items()
                )
                for id_ in FORMAT
            },
        }
    for (key, kind), (their, weight) in _WORDS.items():
        way = f"add_vector_24_n_examples20_{weight}"
        words = {"baseline": "no_instr", "instructed": "standard", "steered": way}
        words["instructed+steered"] = f"instr_plus_{way}"
        told = {}
        for one, folder in words.items():
            path = f"keywords/out/{_MODELS[key][1]}/{their}/{folder}/out.jsonl"
            rows = repository.rows(path, WORD_OUTPUTS)
            told[one] = [bool(row["follow_all_instructions"]) for row in rows]
            _add(agreed, "words, strict", rows, told[one], check="strict")
        models[key].setdefault("keywords", {})[kind] = counted(told.items())
    models["phi-3"]["length"] = _lengths(repository, agreed)
    models["phi-3"]["composition"] = {
        name: _composed(repository.rows(_composition_path(run))) for name, run in _COMPOSED.items()
    }
    for key in ("gemma-2-2b", "gemma-2-9b"):
        models[key]["transfer"] = {
            told: counted((way, of_format(repository, key, run, "loose")[1]) for way, run in runs.items())
            for told, runs in _BASES.items()
        }
    return models, agreed


def _composition_path(run: str) -> str:
    return f"composition/nonpar_plus_length_out/phi-3/all_base_x_all_instr/{run}/out.jsonl"


def _lengths(repository: Repository, agreed: dict[str, tuple[int, int]]) -> Counts:
    folder = "length/out/phi-3/1-5sentences_200examples"
    runs = {
        "instructed": "no_steering_at_most",
        "instructed+steered": "at_most_instr_plus_add_vector_conciseness_12",
    }
    read = {name: repository.rows(f"{folder}/{run}/out.jsonl") for name, run in runs.items()}
    for rows in read.values():
        same = sum(
            (count_sentences(row["response"]) <= row["length_constraint"] + 1)
            == (1 <= sentences.count(row["response"]) <= row["length_constraint"] + 1)
            for row in rows
        )
        _count(agreed, "at most so many sentences", same, len(rows))
    return {
        f"at most {limit}": counted(
            (
                name,
                [
                    count_sentences(row["response"]) <= limit
                    for row in rows
                    if row["length_constraint"] + 1 == limit
                ],
            )
            for name, rows in read.items()
        )
        for limit in range(1, 6)
    }


def _composed(rows: list[Row]) -> Counts:
    formatted = [bool(row["follow_all_instructions"]) for row in rows]
    within = [row["response_length_sent"] <= row["length_constraint"] + 1 for row in rows]
    both = [a and b for a, b in zip(formatted, within, strict=True)]
    return counted([("format followed", formatted), ("within the limit", within), ("both", both)])


def _add(
    agreed: dict[str, tuple[int, int]], kind: str, rows: list[Row], verdicts: list[bool], *, check: str
) -> None:
    same = total = 0
    for row, theirs in zip(rows, verdicts, strict=True):
        if row["kwargs"] is None:
            continue
        asked = {"prompt": row["prompt"], "instruction_id_list": row["instruction_id_list"]}
        (item,) = read_items([("a row", asked | {"key": 1, "kwargs": row["kwargs"]})])
        judged = [one.for_query(item.asked).judge(row["response"]) for one in item.instructions]
        ours = all(one.strict if check == "strict" else one.loose for one in judged)
        same, total = same + (ours == theirs), total + 1
    _count(agreed, kind, same, total)


def _count(agreed: dict[str, tuple[int, int]], kind: str, same: int, total: int) -> None:
    before = agreed.get(kind, (0, 0))
    agreed[kind] = (before[0] + same, before[1] + total)


def command(
    repository: Annotated[
        Path, typer.Argument(metavar="CLONE", help="A full clone of microsoft/llm-steer-instruct.")
    ],
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figures here, as JSON.")
    ] = None,
) -> None:
    """Count the authors' outputs again, and compare with what the package ships."""
    models, agreed = recount(Repository(repository))
    shipped = json.loads((resources.files("trimtab") / "data" / "paper" / "figures.json").read_text("utf-8"))
    if write is not None:
        text = json.dumps({**shipped, "models": models}, indent=1, ensure_ascii=False) + "\n"
        typer.echo(f"written: {write_text(write, text)}")
    typer.echo(f"as the package has them: {'yes' if models == shipped['models'] else 'no'}")
    typer.echo("answers on which their verdict and the check of this project are the same:")
    for kind, (same, total) in agreed.items():
        typer.echo(f"  {kind}: {same} of {total}")


if __name__ == "__main__":
    raise SystemExit(run(command, "python -m benchmarks.published"))
