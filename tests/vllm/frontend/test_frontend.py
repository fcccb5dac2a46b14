"""What becomes of a request before the engine sees it; on nano, with parts of vLLM made here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.tiny import TEMPLATE, tiny_tokenizer

import trimtab
from trimtab import nano
from trimtab.errors import ModelError, SteeringError
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering
from trimtab.vllm.frontend.frontend import (
    Frontend,
    RequestPlan,
    TrustedRequest,
    refuse_unserved,
)
from trimtab.vllm.packing import unpack_edits


@pytest.fixture(scope="module")
def engine() -> Any:
    return trimtab.load("nano", device="cpu")


def vllm_config(engine: Any, model: str | None = None, **settings: Any) -> Any:
    model = model or str(nano.path("nano"))
    model_config = SimpleNamespace(
        model=model,
        revision=None,
        tokenizer=model,
        tokenizer_revision=None,
        trust_remote_code=False,
        hf_config=engine.model.config,
        dtype=torch.float32,
        get_total_num_hidden_layers=lambda: engine.model.config.num_hidden_layers,
    )
    return SimpleNamespace(model_config=model_config, additional_config={"trimtab": settings})


@pytest.fixture(scope="module")
def known(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Steering, Path]:
    folder = tmp_path_factory.mktemp("steerings")
    edit = Edit.add(1, torch.ones(engine.identity.width), tokens="generated")
    steering = Steering("ones", (edit,), Record(engine.identity))
    steering.save(folder / "ones")
    return steering, folder


@pytest.fixture(scope="module")
def frontend(engine: Any, known: tuple[Steering, Path]) -> Frontend:
    return Frontend(vllm_config(engine, steerings=str(known[1])), engine.tokenizer)


def params(**extra: Any) -> Any:
    return SimpleNamespace(extra_args=extra)


def request(extra: dict[str, Any] | None, salt: str | None = None) -> Any:
    return SimpleNamespace(cache_salt=salt, sampling_params=SimpleNamespace(extra_args=extra))


def test_the_model_served_is_the_model_learned_on(engine: Any, frontend: Frontend) -> None:
    assert frontend.identity == engine.identity
    assert frontend.identity.id == "nano-instruct"
    assert frontend.identity.revision == nano.revision("nano")
    # Without a tokenizer, as where vLLM was told to make none.
    assert Frontend(vllm_config(engine)).identity == engine.identity


def test_a_folder_is_called_by_its_name(engine: Any, tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    config = vllm_config(engine, str(folder))
    identity = Frontend(config, engine.tokenizer).identity
    assert (identity.id, identity.revision) == ("my-model", None)


def test_by_name_and_digest(frontend: Frontend, known: tuple[Steering, Path]) -> None:
    digest = known[0].digest()
    plan = frontend.plan(params(steering="ones*0.5"))
    assert plan.composition == ((digest, 0.5),)
    assert plan.internal == {"composition": [[digest, 0.5]], "scoped": True}
    assert frontend.plan(params(steering=f"{digest}*0.5")) == plan
    assert frontend.plan(params(steering="ones*0")) == RequestPlan()
    assert frontend.plan(params(other=1)) == RequestPlan()
    assert frontend.plan(SimpleNamespace()) == RequestPlan()


def test_edits_of_the_request_travel_in_it(frontend: Frontend, engine: Any) -> None:
    plan = frontend.plan(
        params(steering={"edits": [{"block": 2, "u": [1.0] * engine.identity.width, "alpha": 2}]})
    )
    [(digest, strength)] = plan.composition
    assert plan.internal is not None
    [edit] = unpack_edits(plan.internal["inline"][digest])
    assert (edit.block, edit.alpha, strength) == (2, 2.0, 1.0)


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated"])
def test_edits_that_tell_a_prompt_from_an_answer(frontend: Frontend, engine: Any, tokens: str) -> None:
    edit = {"block": 2, "u": [1.0] * engine.identity.width, "alpha": 2, "tokens": tokens}
    plan = frontend.plan(params(steering={"edits": [edit]}))
    assert plan.internal is not None
    assert plan.internal.get("scoped", False) == (tokens != "all")
    growing = request({})
    growing.resumable = True
    if tokens == "all":
        frontend.attach(growing, plan)
    else:
        with pytest.raises(
            SteeringError, match="sent in pieces cannot be steered by edits for the prompt only"
        ):
            frontend.attach(growing, plan)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"steering": "unknown"}, "unknown"),
        ({"steering": "ones*nan"}, "ones"),
        ({"steering": 3}, "text or an object"),
        ({"trimtab": {"composition": []}}, "'trimtab' is not for clients"),
        ({"steering": {"composition": [["sha256:0", 1.0]], "prompt_tokens": 1}}, "composition"),
    ],
)
def test_refused(frontend: Frontend, extra: dict[str, Any], says: str) -> None:
    with pytest.raises(SteeringError, match=says):
        frontend.plan(params(**extra))


def test_callers_in_the_process_say_more(frontend: Frontend, engine: Any) -> None:
    plan = frontend.plan(params(steering=TrustedRequest((("sha256:0", 1.0),), prompt_tokens=3)))
    assert plan.internal == {"composition": [["sha256:0", 1.0]], "scoped": True, "prompt_tokens": 3}
    assert frontend.plan(params(steering=TrustedRequest())) == RequestPlan()
    with pytest.raises(SteeringError, match="to record requests, serve with"):
        frontend.plan(params(steering=TrustedRequest(record=0)))
    recording = Frontend(vllm_config(engine, record=True), engine.tokenizer)
    assert recording.plan(params(steering=TrustedRequest(record=0))).internal == {
        "composition": [],
        "record": 0,
    }


def test_the_workers_are_told_and_the_cache_is_salted(frontend: Frontend) -> None:
    plan = frontend.plan(params(steering="ones"))
    salts = set()
    for client in (None, "mine", "yours"):
        asked = request({"steering": "ones", "other": 1}, client)
        frontend.attach(asked, plan)
        assert asked.sampling_params.extra_args == {"other": 1, "trimtab": plan.internal}
        plain = request(None, client)
        frontend.attach(plain, RequestPlan())
        salts |= {asked.cache_salt, plain.cache_salt}
    assert len(salts) == 6
    # Only what neither is steered nor salted shares its blocks as ever.
    assert None in salts
    # A client that names the salt of a steering does not get at its blocks.
    steered = request({}, None)
    frontend.attach(steered, plan)
    thief = request({}, steered.cache_salt)
    frontend.attach(thief, RequestPlan())
    assert thief.cache_salt != steered.cache_salt


def test_one_for_each_processor(engine: Any) -> None:
    processor = SimpleNamespace(vllm_config=vllm_config(engine), tokenizer=engine.tokenizer)
    assert Frontend.of(processor) is Frontend.of(processor) is processor.trimtab
    plain = SimpleNamespace(vllm_config=SimpleNamespace(additional_config={}))
    assert Frontend.of(plain) is None


def test_where_it_is_not_served_nobody_is_answered_unsteered() -> None:
    for extra in ({"steering": "ones"}, {"trimtab": {}}):
        with pytest.raises(
            SteeringError, match="steering is not served here: start the server with `trimtab serve`"
        ):
            refuse_unserved(params(**extra))
    refuse_unserved(params(other=1))
    refuse_unserved(SimpleNamespace(extra_args=None))
    with pytest.raises(ModelError, match="this vLLM serves no steering"):
        Frontend(SimpleNamespace(additional_config={}))


def test_a_folder_that_cannot_be_served_is_told_at_once(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    with pytest.raises(SteeringError, match="broken"):
        Frontend(vllm_config(engine, steerings=str(tmp_path)), engine.tokenizer)


@pytest.mark.parametrize(
    ("saved", "template", "ends"),
    [
        (None, TEMPLATE, [3]),
        (2, TEMPLATE, [2, 3]),
        ([3, 2], TEMPLATE, [3, 2]),
        (2, None, 2),
    ],
)
def test_answers_also_end_where_the_template_ends_a_turn(
    engine: Any, saved: Any, template: str | None, ends: Any
) -> None:
    processor = SimpleNamespace(
        vllm_config=vllm_config(engine),
        tokenizer=tiny_tokenizer(template),
        generation_config_fields={} if saved is None else {"eos_token_id": saved},
    )
    assert Frontend.of(processor) is Frontend.of(processor) is not None
    assert processor.generation_config_fields["eos_token_id"] == ends


def test_template_options_are_part_of_the_identity_served(engine: Any) -> None:
    tokenizer = tiny_tokenizer("{{ messages[0].content }}{% if loud %}!{% endif %}")
    plain = Frontend(vllm_config(engine), tokenizer)
    loud = Frontend(vllm_config(engine, template_options={"loud": True}), tokenizer)
    assert plain.identity.chat_template != loud.identity.chat_template
    assert "loud = true" not in tokenizer.chat_template
