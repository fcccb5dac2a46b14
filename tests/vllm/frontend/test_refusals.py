"""What cannot be steered rightly is refused with the reason, on configurations made here; one on vLLM itself."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from trimtab.errors import ModelError
from trimtab.vllm import plugin
from trimtab.vllm.frontend.refusals import check_config


def config(**changes: Any) -> Any:
    """A configuration that can be served, changed at `part__name`."""
    parts: dict[str, dict[str, Any]] = {
        "model_config": {
            "model": "some/model",
            "runner_type": "generate",
            "is_encoder_decoder": False,
            "is_diffusion": False,
        },
        "parallel_config": {
            "use_ubatching": False,
            "prefill_context_parallel_size": 1,
            "enable_elastic_ep": False,
            "enable_batch_sharded_sampling": False,
            "data_parallel_size": 2,
        },
        "cache_config": {"kv_sharing_fast_prefill": False},
        "load_config": {"load_format": "auto"},
        "speculative_config": {"enable_adaptive_verification": False},
    }
    for path, value in changes.items():
        part, name = path.split("__")
        parts[part][name] = value
    made = {part: SimpleNamespace(**values) for part, values in parts.items()}
    return SimpleNamespace(kv_transfer_config=None, **made)


def test_a_plain_configuration_is_served() -> None:
    check_config(config())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_config__runner_type": "pooling"}, "run for pooling, and only text generation is steered"),
        ({"model_config__is_encoder_decoder": True}, "some/model is an encoder-decoder"),
        ({"model_config__is_diffusion": True}, "some/model writes by diffusion"),
        ({"parallel_config__use_ubatching": True}, "microbatches .* leave them out"),
        ({"parallel_config__prefill_context_parallel_size": 2}, "leave out --prefill-context-parallel-size"),
        ({"parallel_config__enable_elastic_ep": True}, "leave out --enable-elastic-ep"),
        ({"parallel_config__enable_batch_sharded_sampling": True}, "--enable-batch-sharded-sampling"),
        ({"cache_config__kv_sharing_fast_prefill": True}, "--kv-sharing-fast-prefill skips most tokens"),
        ({"speculative_config__enable_adaptive_verification": True}, "adaptive verification"),
        ({"load_config__load_format": "tensorizer"}, "--load-format tensorizer"),
    ],
)
def test_refused_in_one_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=f"steering cannot be served: .*{says}"):
        check_config(config(**changes))


@pytest.mark.parametrize(
    ("connector", "children", "refused"),
    [
        ("OffloadingConnector", [], None),
        ("MultiConnector", ["NixlConnector", "OffloadingConnector"], None),
        ("LMCacheConnectorV1", [], "LMCacheConnectorV1"),
        ("MultiConnector", ["NixlConnector", "ExampleConnector"], "ExampleConnector"),
    ],
)
def test_connectors_that_go_by_tokens_alone(connector: str, children: list[str], refused: str | None) -> None:
    made = config()
    made.kv_transfer_config = SimpleNamespace(
        kv_connector=connector,
        kv_connector_extra_config={"connectors": [{"kv_connector": child} for child in children]},
    )
    if refused is None:
        check_config(made)
        return
    with pytest.raises(ModelError, match=f"the KV connector {refused} may hand"):
        check_config(made)


def test_recording_on_ranks_that_keep_step() -> None:
    made = config()
    made.additional_config = {"trimtab": {"record": True}}
    with pytest.raises(ModelError, match="serve without record"):
        check_config(made)
    made.parallel_config.data_parallel_size = 1
    check_config(made)


def test_the_frontend_that_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "1")
    with pytest.raises(ModelError, match="unset VLLM_USE_RUST_FRONTEND"):
        check_config(config())


def test_a_draft_is_never_steered() -> None:
    target, draft = SimpleNamespace(runner_type="generate"), SimpleNamespace(runner_type="draft")
    speculative = SimpleNamespace(draft_model_config=draft, target_model_config=target)
    vllm_config = SimpleNamespace(speculative_config=speculative)
    assert plugin._is_draft(vllm_config, draft)
    assert not plugin._is_draft(vllm_config, target)
    # The class of the model does not matter, nor that a configuration was made for the draft alone.
    assert plugin._is_draft(SimpleNamespace(speculative_config=None), draft)
    same = SimpleNamespace(
        draft_model_config=target, target_model_config=target
    )  # n-grams: no draft model at all
    assert not plugin._is_draft(SimpleNamespace(speculative_config=same), target)


@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
class TestOnVllm:
    @pytest.fixture
    def hooked(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        plugin.register()
        return monkeypatch

    def test_a_vllm_without_a_hook(self, hooked: Any) -> None:
        plugin.check_hooks(v2_runner=False)
        plugin.check_hooks(v2_runner=True)
        hooked.setattr(plugin, "V1_HOOKS", (("vllm.v1.worker.gpu_model_runner", "GPUModelRunner", "_gone"),))
        with pytest.raises(
            ModelError, match=r"it has no vllm.v1.worker.gpu_model_runner.GPUModelRunner._gone"
        ):
            plugin.check_hooks(v2_runner=False)
        hooked.undo()
        for hooks in ("SOUNDNESS_HOOKS", "FIELDS"):
            hooked.setattr(plugin, hooks, (("vllm.v1.engine", "EngineCoreOutput", "gone"),))
            with pytest.raises(ModelError, match=r"it has no vllm.v1.engine.EngineCoreOutput.gone"):
                plugin.check_hooks(v2_runner=True)
            hooked.undo()

    def test_when_the_configuration_is_made(self, hooked: Any) -> None:
        from vllm.engine.arg_utils import EngineArgs

        from trimtab import nano

        hooked.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        options: dict[str, Any] = {"model": str(nano.path("nano")), "max_model_len": 256}
        served = EngineArgs(**options, additional_config={"trimtab": {"gates": 2}}).create_engine_config()
        assert served.additional_config["trimtab"]["version"]
        unsteered = EngineArgs(**options, kv_sharing_fast_prefill=True).create_engine_config()
        assert unsteered.additional_config == {}
        with pytest.raises(ModelError, match="--kv-sharing-fast-prefill skips most tokens"):
            EngineArgs(
                **options, kv_sharing_fast_prefill=True, additional_config={"trimtab": {}}
            ).create_engine_config()

    def test_registering_twice_wraps_once(self, hooked: Any) -> None:
        from vllm.v1.engine.input_processor import InputProcessor

        wrapped = InputProcessor.process_inputs
        plugin.register()
        assert InputProcessor.process_inputs is wrapped
