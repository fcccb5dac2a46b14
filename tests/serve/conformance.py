"""What every server owes that `trimtab.serve` is part of, written once: the same requests, the same answers.

Whoever runs it derives a class of tests and has the fixtures `server` (with an `address`, started with `KEY`, and with
`GATES` gated edits in a block), `client`, `engine`, `known`, `folder` and `expected`.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.on_vllm import cases

from trimtab.steering.steering import Steering

KEY = "the-key"
GATES = 8
TOKENS = 24
QUESTIONS = ["What grows in spring?", "Tell me about the lighthouse.", "Who lives by the river?"]
HEADER = "x-trimtab-steering"


def six(engine: Any) -> dict[str, Steering]:
    """Six steerings, all scopes, gated ones too; the last two are not in the server's folder."""
    found = cases.steerings(engine, 6, seed=3)
    return {f"s{number}": steering for number, steering in enumerate(found.values())}


def folder_of(known: dict[str, Steering], folder: Path) -> Path:
    """The folder that a server is started with; one of its steerings has two names."""
    return cases.save({**dict(list(known.items())[:4]), "json": known["s0"]}, folder)


def chat(client: openai.OpenAI, question: str, model: str = "nano", **options: Any) -> Any:
    """The raw response, with headers."""
    return client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        **{"max_tokens": TOKENS, "temperature": 0, **options},
    )


def text(raw: Any) -> str:
    return str(raw.parse().choices[0].message.content)


def asks(steering: str, **more: Any) -> dict[str, Any]:
    return {"vllm_xargs": {"steering": steering}, **more}


def request(server: Any, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
    """A request without any client library; its answer as JSON or text."""
    sent = {"authorization": f"Bearer {KEY}", "content-type": "application/json", **headers}
    content = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(server.address + path, content, sent)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        content = answer.read().decode()
        return json.loads(content) if "json" in answer.headers["content-type"] else content


def refusal(server: Any, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, str]:
    """Status and text of the answer to such a request that is refused."""
    with pytest.raises(urllib.request.HTTPError) as caught:
        request(server, path, body, **headers)
    with caught.value as error:
        return error.code, error.read().decode()


def said(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def upload(client: openai.OpenAI, name: str, steering: Steering, folder: Path, **more: str) -> Any:
    """As the documentation says: the two files of a steering, as a form."""
    steering.save(folder)
    files = {
        "document": (folder / "steering.json").read_bytes(),
        "tensors": (folder / "steering.safetensors").read_bytes(),
    }
    return client.post(
        "/steerings",
        cast_to=object,
        body={"name": name, **more},
        files=files,
        options={"headers": {"Content-Type": "multipart/form-data"}},
    )


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": "nano:nope"}, "there is no steering 'nope' here; there are json, s0"),
    ({"extra_body": {"steering": "nope"}}, "there is no steering 'nope' here"),
    ({"extra_body": {"steering": 3}}, "text or an object"),
    ({"model": "nano:"}, "the steering is empty"),
    ({"model": "nano:s0**2"}, "cannot be read"),
    ({"model": "nano:s0*1e99"}, "the strength of 's0'"),
    ({"extra_body": asks("{nonsense")}, "begins like JSON"),
    ({"extra_body": {"vllm_xargs": {"steering": 3}}}, "text or an object"),
    ({"extra_body": asks('{"edits": [{"block": 0, "u": [1, 2], "alpha": 1}]}')}, "width 2"),
    ({"extra_body": asks('{"edits": [{"block": 99, "u": [1, 2], "alpha": 1}]}')}, "no block 99"),
    ({"extra_body": asks('{"edits": [{"block": 0, "u": [NaN], "alpha": 1}]}')}, "finite"),
    ({"extra_body": asks("sha256:" + "0" * 64)}, "digest"),
    ({"extra_body": {"vllm_xargs": {"trimtab": "{}"}}}, "the server's own"),
]


class Conformance:
    def test_chat_by_name_by_argument_and_without(
        self, client: openai.OpenAI, known: dict[str, Steering], expected: Callable[..., str]
    ) -> None:
        seen = set()
        for question in QUESTIONS:
            plain = chat(client, question)
            assert text(plain) == expected(question)
            assert HEADER not in plain.headers
            for name in ("s0", "s1", "s2", "s3"):
                steered = expected(question, known[name])
                assert text(chat(client, question, f"nano:{name}")) == steered
                raw = chat(client, question, extra_body=asks(name))
                assert text(raw) == steered
                assert raw.headers[HEADER] == known[name].digest()
                seen.add(steered)
        assert len(seen) > 8

    def test_compositions_and_strengths(
        self, client: openai.OpenAI, known: dict[str, Steering], expected: Callable[..., str]
    ) -> None:
        both = known["s0"] * 0.5 + known["s1"] * -1.0
        by_name = chat(client, QUESTIONS[0], "nano:s0*0.5+s1*-1")
        assert text(by_name) == expected(QUESTIONS[0], both)
        in_two_places = chat(client, QUESTIONS[0], "nano:s0*0.5", extra_body=asks("s1*-1"))
        assert text(in_two_places) == text(by_name)
        assert in_two_places.headers[HEADER] == by_name.headers[HEADER]
        asked_again = chat(client, QUESTIONS[0], extra_body=asks(by_name.headers[HEADER]))
        assert text(asked_again) == text(by_name)
        assert "*-1" in asked_again.headers[HEADER]
        zero = chat(client, QUESTIONS[0], "nano:s0*0")
        assert text(zero) == expected(QUESTIONS[0])
        assert HEADER not in zero.headers

    def test_own_edits(
        self, client: openai.OpenAI, known: dict[str, Steering], expected: Callable[..., str]
    ) -> None:
        case = cases.Case(QUESTIONS[0], (("s0", 0.5),), (known["s5"] * 0.7).edits)
        raw = chat(client, QUESTIONS[0], extra_body=asks(json.dumps(case.asks()["steering"])))
        assert text(raw) == expected(QUESTIONS[0], case.steering(known))
        assert raw.headers[HEADER].count("sha256:") == 2

    def test_completions(self, client: openai.OpenAI, engine: Any, known: dict[str, Steering]) -> None:
        prompts = cases.prompts_of(engine, [cases.Case(question) for question in QUESTIONS])
        done = client.completions.create(
            model="nano:s2", prompt=prompts, max_tokens=TOKENS, temperature=0, logprobs=2
        )
        generations = engine.generate(QUESTIONS, steering=known["s2"], max_new_tokens=TOKENS)
        assert [choice.text for choice in done.choices] == [generation.text for generation in generations]
        assert all(len(choice.logprobs.token_logprobs) > 0 for choice in done.choices)

    def test_streams_are_the_same_text_in_pieces(
        self, client: openai.OpenAI, expected: Callable[..., str], known: Any
    ) -> None:
        with client.chat.completions.with_streaming_response.create(
            model="nano:s1",
            messages=[{"role": "user", "content": QUESTIONS[1]}],
            max_tokens=TOKENS,
            temperature=0,
            stream=True,
        ) as raw:
            assert raw.headers[HEADER] == known["s1"].digest()
            pieces = [part.choices[0].delta.content or "" for part in raw.parse() if part.choices]
        assert "".join(pieces) == expected(QUESTIONS[1], known["s1"])
        assert sum(map(bool, pieces)) > 1

    def test_several_answers_and_log_probabilities(
        self, client: openai.OpenAI, expected: Callable[..., str], known: Any
    ) -> None:
        # vLLM gives several answers to those who sample only; of the most likely token alone, here.
        sampled = {"n": 2, "temperature": 1, "extra_body": {"top_k": 1}}
        done = chat(client, QUESTIONS[0], "nano:s3", logprobs=True, top_logprobs=2, **sampled).parse()
        steered = expected(QUESTIONS[0], known["s3"])
        assert [choice.message.content for choice in done.choices] == [steered] * 2
        own = done.choices[0].logprobs.content
        plain = chat(client, QUESTIONS[0], logprobs=True).parse().choices[0].logprobs.content
        assert own[0].logprob != plain[0].logprob or own[0].token != plain[0].token

    def test_many_at_once_are_as_one_by_one(self, client: openai.OpenAI) -> None:
        models = ["nano", "nano:s0", "nano:s1", "nano:s2*0.5", "nano:s3+s0", "nano:s3*-1", "nano:s1*0.8+s2"]
        asked = [(QUESTIONS[number % 3], models[number % 7]) for number in range(24)]
        alone = [text(chat(client, *one)) for one in asked]
        assert len(set(alone)) > 12
        with ThreadPoolExecutor(24) as pool:
            assert list(pool.map(lambda one: text(chat(client, *one)), asked)) == alone

    def test_models_are_listed_and_found(self, client: openai.OpenAI, known: dict[str, Steering]) -> None:
        names = {model.id for model in client.models.list()}
        assert {"nano", "nano:s0", "nano:s3"} <= names
        assert client.models.retrieve("nano").id == "nano"
        assert client.models.retrieve("nano:s0").root == known["s0"].digest()  # type: ignore[attr-defined]
        assert client.models.retrieve("nano:s0+s1*0.5").id == "nano:s0+s1*0.5"
        with pytest.raises(openai.NotFoundError, match="no steering 'nope'"):
            client.models.retrieve("nano:nope")

    def test_a_page_of_another_site_changes_nothing(self, client: openai.OpenAI, server: Any) -> None:
        for headers in ({"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
            with pytest.raises(openai.PermissionDeniedError, match="page of another site"):
                client.post(
                    "/steerings/load", cast_to=object, body={"folder": "json"}, options={"headers": headers}
                )
        load = "/v1/steerings/load"
        assert refusal(server, load, {"folder": "json"}, **{"content-type": "text/plain"})[0] == 415
        status, says = refusal(server, load, {"hub": "\ud800/x"})
        assert (status, "on the Hub" in says) == (400, True)

    def test_upload_use_unload(
        self,
        client: openai.OpenAI,
        server: Any,
        known: dict[str, Steering],
        expected: Callable[..., str],
        tmp_path: Path,
    ) -> None:
        card = upload(client, "new", known["s4"], tmp_path / "a")
        assert (card["name"], card["digest"]) == ("new", known["s4"].digest())  # type: ignore[index]
        assert "nano:new" in {model.id for model in client.models.list()}
        steered = expected(QUESTIONS[0], known["s4"])
        assert text(chat(client, QUESTIONS[0], "nano:new")) == steered
        assert text(chat(client, QUESTIONS[0], f"nano:{known['s4'].digest()[:30]}")) == steered
        with pytest.raises(openai.ConflictError, match="another steering named 'new'"):
            upload(client, "new", known["s5"], tmp_path / "b")
        upload(client, "new", known["s5"], tmp_path / "b", replace="true")
        assert text(chat(client, QUESTIONS[0], "nano:new")) == expected(QUESTIONS[0], known["s5"])
        client.delete("/steerings/new", cast_to=object)
        for name in ("new", known["s5"].digest(), known["s4"].digest()):
            with pytest.raises(openai.BadRequestError, match="there is no steering"):
                chat(client, QUESTIONS[0], f"nano:{name}")
        with pytest.raises(openai.NotFoundError):
            client.delete("/steerings/new", cast_to=object)

    def test_a_request_under_way_keeps_what_is_unloaded(
        self, client: openai.OpenAI, server: Any, known: dict[str, Steering], engine: Any, tmp_path: Path
    ) -> None:
        upload(client, "brief", known["s5"], tmp_path)
        (whole,) = engine.generate([QUESTIONS[0]], steering=known["s5"], max_new_tokens=200)
        stream = client.chat.completions.create(
            model="nano:brief",
            messages=[{"role": "user", "content": QUESTIONS[0]}],
            max_tokens=200,
            temperature=0,
            stream=True,
        )
        pieces = [next(stream).choices[0].delta.content or ""]
        client.delete("/steerings/brief", cast_to=object)
        pieces += [part.choices[0].delta.content or "" for part in stream if part.choices]
        assert "".join(pieces) == whole.text
        upload(client, "brief", known["s5"], tmp_path)
        raw = chat(client, QUESTIONS[0], "nano:brief")
        assert whole.text.startswith(text(raw)[:20])
        client.delete("/steerings/brief", cast_to=object)

    def test_loading_from_the_servers_folder(
        self, client: openai.OpenAI, folder: Path, known: dict[str, Steering], expected: Callable[..., str]
    ) -> None:
        known["s4"].save(folder / "late")
        card = client.post("/steerings/load", cast_to=object, body={"folder": "late"})
        assert card["digest"] == known["s4"].digest()  # type: ignore[index]
        assert text(chat(client, QUESTIONS[1], "nano:late")) == expected(QUESTIONS[1], known["s4"])
        client.delete("/steerings/late", cast_to=object)

    def test_damaged_and_foreign_uploads_are_refused(
        self, client: openai.OpenAI, server: Any, known: dict[str, Steering], tmp_path: Path
    ) -> None:
        import dataclasses

        original = known["s4"]
        record = original.record
        foreign = dataclasses.replace(
            original,
            record=dataclasses.replace(
                record, model=dataclasses.replace(record.model, id="other", weights=None)
            ),
        )
        with pytest.raises(openai.BadRequestError, match="is for other"):
            upload(client, "bad", foreign, tmp_path / "a")
        good = original.save(tmp_path / "b")
        tensors = good / "steering.safetensors"
        cut = tensors.read_bytes()[:-5]
        with pytest.raises(openai.BadRequestError, match="damaged"):
            client.post(
                "/steerings",
                cast_to=object,
                body={"name": "bad"},
                files={"document": (good / "steering.json").read_bytes(), "tensors": cut},
                options={"headers": {"Content-Type": "multipart/form-data"}},
            )
        assert "nano:bad" not in {model.id for model in client.models.list()}

    @pytest.mark.parametrize(("options", "says"), WRONG)
    def test_mistakes_are_one_sentence(
        self, client: openai.OpenAI, options: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(openai.BadRequestError, match=re.escape(says)) as caught:
            chat(client, QUESTIONS[0], **{"model": "nano", **options})
        assert caught.value.status_code == 400
        assert caught.value.type == "BadRequestError"
        assert "\n" not in caught.value.body["message"]  # type: ignore[index]

    def test_too_many_gates(self, client: openai.OpenAI, engine: Any) -> None:
        edit = {"block": 0, "u": [0.1] * engine.identity.width, "alpha": 1}
        edits = [{**edit, "p": [number / 100] * engine.identity.width} for number in range(1, GATES + 2)]
        says = f"{GATES + 1} gated edits in one block, and the tables take {GATES}"
        with pytest.raises(openai.BadRequestError, match=says):
            chat(client, QUESTIONS[0], extra_body=asks(json.dumps({"edits": edits})))

    def test_an_answer_of_no_numbers_is_an_error_and_the_others_go_on(
        self, client: openai.OpenAI, engine: Any, expected: Callable[..., str]
    ) -> None:
        many = [
            1e15
        ] * engine.identity.width  # finite, as are their products with what they meet; their sums are not
        blocks = range(engine.identity.blocks)
        edits = [{"block": block, "u": many, "p": many, "alpha": 1} for block in blocks]
        strong = asks(json.dumps({"edits": edits}))
        says = "gives values that are not finite"

        def status(number: int) -> int:
            if number % 2:
                assert text(chat(client, QUESTIONS[0])) == expected(QUESTIONS[0])
                return 200
            with pytest.raises(openai.InternalServerError, match=says) as caught:
                chat(client, QUESTIONS[0], extra_body=strong)
            assert caught.value.type == "InternalServerError"
            return caught.value.status_code

        with ThreadPoolExecutor(12) as pool:
            assert list(pool.map(status, range(12))) == [500, 200] * 6
        stream = client.chat.completions.create(
            model="nano",
            messages=[{"role": "user", "content": QUESTIONS[0]}],
            max_tokens=TOKENS,
            stream=True,
            extra_body=strong,
        )
        with pytest.raises(openai.APIError, match=says):
            assert not [part for part in stream if part.choices and part.choices[0].delta.content]

    def test_an_unknown_model_is_not_found(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError):
            chat(client, QUESTIONS[0], "other:s0")

    def test_the_field_steering_chooses_too(
        self, client: openai.OpenAI, known: dict[str, Steering], expected: Callable[..., str]
    ) -> None:
        for asked in ("s0", {"steerings": [{"name": "s0"}]}):
            raw = chat(client, QUESTIONS[1], extra_body={"steering": asked})
            assert text(raw) == expected(QUESTIONS[1], known["s0"])
            assert raw.headers[HEADER] == known["s0"].digest()

    def test_a_form_and_a_steering_together(self, client: openai.OpenAI, known: dict[str, Steering]) -> None:
        schema = {"type": "object", "properties": {"town": {"enum": ["Langford"]}}, "required": ["town"]}
        form = {"type": "json_schema", "json_schema": {"name": "town", "schema": schema}}
        answer = chat(client, QUESTIONS[0], response_format=form, extra_body=asks("s1"), max_tokens=200)
        assert answer.headers[HEADER] == known["s1"].digest()
        assert json.loads(text(answer))["town"] == "Langford"

    def test_without_the_key_nothing_is_told(self, server: Any) -> None:
        body = {"model": "nano:nope", "messages": said("Hello")}
        for path, content in (
            ("/v1/steerings", None),
            ("/v1/models/nano:s0", None),
            ("/v1/chat/completions", body),
        ):
            found, says = refusal(server, path, content, authorization="Bearer wrong")
            assert found == 401
            assert "s0" not in says
