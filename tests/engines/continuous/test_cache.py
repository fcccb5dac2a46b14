"""Models that keep other things than keys and values of all tokens; those of `tests/laws` keep these alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engines.continuous.asking import asked, finished
from tests.tiny import PROMPTS, VOCABULARY, WIDTH, random_steering, tiny_tokenizer, tokens_of

from trimtab.engines.continuous import RunningBatch
from trimtab.engines.transformers import TransformersEngine

KINDS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "states": ("MambaConfig", {"state_size": 4}, True),
    "states in some layers": ("Lfm2Config", {"layer_types": ["conv", "full_attention", "conv"]}, True),
    "states beside keys": (
        "FalconH1Config",
        {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 2},
        True,
    ),
    "latents": (
        "DeepseekV3Config",
        {
            "num_key_value_heads": 4,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4,
            "v_head_dim": 8,
            "first_k_dense_replace": 3,
        },
        True,
    ),
    "to itself": (
        "RecurrentGemmaConfig",
        {
            "lru_width": 32,
            "head_dim": 8,
            "attention_window_size": 16,
            "block_types": ["recurrent", "attention"],
        },
        False,
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[TransformersEngine, bool]:
    import transformers

    name, own, joins = KINDS[request.param]
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, name)(**{**shape, **own})
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return TransformersEngine(model, tiny_tokenizer(), model_id=request.param), joins


def test_rows_join_late_and_leave_early(kind: tuple[TransformersEngine, bool]) -> None:
    engine, joins = kind
    prompts = [*PROMPTS, "a", "name a pocket"]
    steerings = [random_steering(engine, 1, "generated"), None, random_steering(engine, 2), None, None]
    lengths = (9, 3, 12, 6, 4)
    batch = RunningBatch(engine, max_rows=3)
    running = []
    sizes: list[int] = []
    handle = engine.decoder_blocks.blocks[0].register_forward_pre_hook(
        lambda module, args: sizes.append(len(args[0]))
    )
    for prompt, steering, length in zip(prompts, steerings, lengths, strict=True):
        running.append(batch.submit(asked(engine, prompt, steering, max_new_tokens=length)))
        batch.step()
    finished(batch)
    handle.remove()
    assert max(sizes) == (3 if joins else 1)
    for one, prompt, steering, length in zip(running, prompts, steerings, lengths, strict=True):
        [expected] = engine.generate([prompt], steering=steering, max_new_tokens=length, use_cache=False)
        assert tuple(one.token_ids) == expected.token_ids
    together = engine.generate(prompts, steering=steerings, max_new_tokens=9)
    apart = [
        engine.generate([prompt], steering=steering, max_new_tokens=9, use_cache=False)[0]
        for prompt, steering in zip(prompts, steerings, strict=True)
    ]
    assert tokens_of(together) == tokens_of(apart)
