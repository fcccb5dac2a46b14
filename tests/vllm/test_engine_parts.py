"""What the vLLM engine settles before vLLM is asked: options, seeds, the model's own settings. vLLM is not needed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from tests.out_of_reach import without_hub

import trimtab
from trimtab.engines.decoding import Settings
from trimtab.errors import ModelError
from trimtab.vllm import sampling, starting
from trimtab.vllm.worker.seeds import mend


def generation(**settings: Any) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(**settings)


class Tokenizer:
    eos_token_id = 7


class TestModelSettings:
    def test_the_ends_are_those_of_the_generation_settings_and_the_tokenizer(self) -> None:
        def ends(**settings: Any) -> tuple[int, ...]:
            return sampling.ModelSettings.of(generation(**settings), Tokenizer(), "model").ends

        assert ends(eos_token_id=[1, 2]) == (1, 2, 7)
        assert ends(eos_token_id=3) == (3, 7)
        assert ends() == (7,)

    def test_what_is_not_set_is_what_transformers_takes(self) -> None:
        own = sampling.ModelSettings.of(generation(), Tokenizer(), "model")
        assert (own.temperature, own.top_p, own.top_k, own.repetition_penalty) == (1.0, 1.0, 50, 1.0)
        own = sampling.ModelSettings.of(
            generation(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05), Tokenizer(), "model"
        )
        assert (own.temperature, own.top_p, own.top_k, own.repetition_penalty) == (0.7, 0.8, 20, 1.05)

    def test_what_vllm_lacks_is_told(self) -> None:
        with pytest.warns(UserWarning, match="no_repeat_ngram_size, which vllm does not"):
            sampling.ModelSettings.of(generation(no_repeat_ngram_size=3), Tokenizer(), "a-model")


class TestSeeds:
    def test_every_response_has_its_own(self) -> None:
        seeds = {sampling.seed_of(0, row, sample) for row in range(20) for sample in range(3)}
        assert len(seeds) == 60
        assert all(seed is not None and 0 <= seed < 2**63 for seed in seeds)
        assert seeds == {sampling.seed_of(0, row, sample) for row in range(20) for sample in range(3)}

    def test_none_is_none(self) -> None:
        assert sampling.seed_of(None, 1, 2) is None

    def test_on_a_cpu_an_unwanted_draw_is_taken_back(self) -> None:
        """As vLLM's runner does it: draw for everyone, then take back the draws of unfinished prompts."""

        class Runner:
            device = torch.device("cpu")

            def __init__(self) -> None:
                self.generators = {row: torch.Generator().manual_seed(row) for row in range(3)}
                self.input_batch = self
                self.num_reqs = 3
                self.np = torch.tensor([True, False, False, True]).numpy()
                self.discard_request_mask = self

            def _sample(self) -> dict[int, float]:
                return {row: float(torch.rand(1, generator=one)) for row, one in self.generators.items()}

            def _bookkeeping_sync(self) -> None:
                for row in self.generators:
                    if self.np[row]:
                        self.generators[row].set_offset(self.generators[row].get_offset() - 4)

        runner = Runner()
        runner._sample()
        with pytest.raises(RuntimeError, match="offset"):  # what there is to mend
            runner._bookkeeping_sync()
        mend(Runner)
        mend(Runner)
        mended = Runner()
        first = mended._sample()
        mended._bookkeeping_sync()
        second = mended._sample()
        assert second[0] == first[0]
        assert second[1] != first[1]
        mended._bookkeeping_sync()
        assert sorted(mended.generators) == [0, 1, 2]


class TestRefusals:
    def test_beams(self) -> None:
        with pytest.raises(ModelError, match="no beam search"):
            sampling.check(Settings(num_beams=2))

    def test_a_temperature_that_vllm_does_not_take(self) -> None:
        sampling.check(Settings(do_sample=True, temperature=2.0))
        with pytest.raises(ModelError, match=r"temperature is 2\.5; vllm takes at most 2"):
            sampling.check(Settings(do_sample=True, temperature=2.5))

    @pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
    def test_without_vllm_the_command_to_install_it_is_told(self) -> None:
        for make in (lambda: trimtab.load("nano", engine="vllm"), lambda: trimtab.VllmEngine("nano")):
            with pytest.raises(ModelError, match=r"not installed: pip install 'trimtab\[vllm\]'"):
                make()

    def test_options_of_the_other_engine(self) -> None:
        for option in ("device", "device_map", "decoder_blocks"):
            with pytest.raises(ModelError, match=f"the vllm engine takes no option {option}: "):
                trimtab.load("nano", engine="vllm", **{option: "cpu"})
        with pytest.raises(ModelError, match="no option max_model_len for the transformers engine"):
            trimtab.load("nano", max_model_len=3)  # type: ignore[call-overload]
        with pytest.raises(ModelError, match="no engine 'llamacpp'"):
            trimtab.load("nano", engine="llamacpp")

    def test_options_that_are_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(starting, "check_installed", lambda: None)
        with pytest.raises(ModelError, match="no option worker_extension_cls"):
            trimtab.VllmEngine("nano", worker_extension_cls="mine.Worker")

    @pytest.mark.parametrize("model", ["someone/a-model-nobody-has", "someone/a-model-nobody-has/a.gguf"])
    def test_a_hub_that_nobody_answers_for_is_not_tried_again(
        self, monkeypatch: pytest.MonkeyPatch, model: str
    ) -> None:
        without_hub(monkeypatch)
        monkeypatch.setattr(starting, "check_installed", lambda: None)
        for tried in ("transformers.AutoConfig.from_pretrained", "transformers.utils.cached_file"):
            monkeypatch.setattr(tried, lambda *arguments, **options: pytest.fail("it was tried"))
        with pytest.raises(ModelError, match=f"the Hub can't be reached and {model} is not in its cache"):
            trimtab.load(model, engine="vllm")

    def test_a_plugin_that_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trimtab.vllm.find_spec", lambda name: name)
        monkeypatch.setenv("VLLM_PLUGINS", "other")
        with pytest.raises(ModelError, match="VLLM_PLUGINS=other keeps vLLM from loading trimtab"):
            starting.check_installed()
        monkeypatch.setenv("VLLM_PLUGINS", "other,trimtab")
        starting.check_installed()

    def test_a_script_that_would_start_itself_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(starting, "check_installed", lambda: None)
        monkeypatch.setattr(starting.multiprocessing.current_process(), "_inheriting", True, raising=False)
        with pytest.raises(ModelError, match="__name__ == '__main__'"):
            trimtab.VllmEngine("nano")


def test_importing_trimtab_brings_no_vllm() -> None:
    code = (
        "import sys, trimtab, trimtab.cli.app; trimtab.VllmEngine; "
        "sys.exit(any(name in sys.modules for name in ('vllm', 'triton', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
