"""Tiny random models of many architectures, with a tokenizer of bytes, made offline and in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from trimtab.engines.transformers import TransformersEngine

TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)
VOCABULARY = 264
BLOCKS = 3
WIDTH = 32

# Common to all; each architecture translates some names.
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,  # a random model with tied embeddings repeats its last token
}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"sliding_window": 12}),
    "phi3": ("Phi3Config", {"sliding_window": None}),
    "gemma2": ("Gemma2Config", {"head_dim": 8, "sliding_window": 12, "query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 8, "sliding_window": 12, "query_pre_attn_scalar": 8}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 8}),
    "gpt2": ("GPT2Config", {}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gptj": ("GPTJConfig", {"rotary_dim": 4}),
    "opt": ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": WIDTH}),
    "bloom": ("BloomConfig", {}),
    "falcon": ("FalconConfig", {"alibi": False, "new_decoder_architecture": True}),
    "mpt": ("MptConfig", {"d_model": WIDTH, "n_heads": 4, "n_layers": BLOCKS, "max_seq_len": 128}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
}


def tiny_tokenizer(template: str | None = TEMPLATE) -> Any:
    """One token per byte, and the special tokens 0 to 3."""
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<|end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=template,
    )


def thinking_tokenizer() -> Any:
    """The same with a template that opens a thought, and marks as tokens of their own but for the closing one."""
    tokenizer = tiny_tokenizer(TEMPLATE.replace("<answer>", "<answer><think>\n"))
    tokenizer.add_tokens(["<think>", "<tool_call>", "</tool_call>"])
    return tokenizer


def tiny_model(architecture: str, **changes: Any) -> Any:
    """A random model of an architecture, always the same."""
    import transformers

    name, own = ARCHITECTURES[architecture]
    config = getattr(transformers, name)(**{**_SHAPE, **own, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def tiny_engine(architecture: str = "llama", template: str | None = TEMPLATE, **changes: Any) -> Any:
    """An engine over a tiny random model."""
    model = tiny_model(architecture, **changes)
    return TransformersEngine(model, tiny_tokenizer(template), model_id=f"tiny-{architecture}")


def random_steering(
    engine: Any, seed: int = 0, tokens: str = "all", strength: float = 0.6, name: str = "random"
) -> Any:
    """A steering with an added vector, a gated edit and a set projection, that shows but does not drown the text.

    Its size goes by the residual stream of the model, so that it means the same on every architecture.
    """
    from trimtab.steering.edits import Edit
    from trimtab.steering.steering import Record, Steering

    identity = engine.identity
    size = engine.capture(["how large is the residual stream?"], keep=True).activations.norm(dim=-1)[0]
    numbers = torch.Generator().manual_seed(seed)
    first, last = 1 % identity.blocks, identity.blocks - 1

    def direction() -> torch.Tensor:
        vector = torch.randn(identity.width, generator=numbers)
        return vector / vector.norm()

    gate = direction() / float(size[first])
    edits = (
        Edit.add(first, direction(), strength * float(size[first]), tokens),
        Edit(first, direction() * strength * float(size[first]), alpha=0.5, p=gate, tokens=tokens),
        Edit.set_projection(last, direction(), strength * float(size[last]), tokens),
    )
    return Steering(name, edits, Record(identity))


PROMPTS = ["name a rocket", "hi", "tell me of the sea and the moon"]
"""Of three lengths, so that a batch of them is padded."""


def tokens_of(generations: Any) -> list[tuple[int, ...]]:
    """The token ids of each."""
    return [generation.token_ids for generation in generations]


def hooks_of(model: Any) -> int:
    """How many forward hooks a model has in all its modules."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def inputs_of(engine: Any, prompts: list[Any]) -> dict[str, torch.Tensor]:
    """What the model takes for formatted prompts: left-padded ids, mask and, where they are known, positions."""
    import inspect

    from trimtab.engines.chat import prompt_ids
    from trimtab.engines.padding import left_padded

    ids, mask = left_padded([prompt_ids(engine.tokenizer, prompt) for prompt in prompts], 0, engine.device)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if "position_ids" in inspect.signature(engine.model.forward).parameters:
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    return inputs


@torch.no_grad()
def logits_of(engine: Any, prompts: list[Any], steering: Any = None) -> torch.Tensor:
    """The logits after the last token of each prompt, in a plain forward pass of the model itself."""
    inputs = inputs_of(engine, prompts)
    with engine.steered(steering, inputs["attention_mask"]):
        return engine.model(**inputs, use_cache=False).logits[:, -1]


@torch.no_grad()
def outputs_of(engine: Any, prompt: Any, steering: Any = None) -> list[torch.Tensor]:
    """The output `[1, tokens, d]` of every block for one prompt, after its edits."""
    from trimtab.steering.blocks import hidden_of

    outputs: list[torch.Tensor] = []
    with engine.steered(steering):
        handles = [
            block.register_forward_hook(lambda module, args, output: outputs.append(hidden_of(output)))
            for block in engine.decoder_blocks.blocks
        ]
        try:
            engine.model(**inputs_of(engine, [prompt]), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
    return outputs


def thinking(engine: Any) -> Any:
    """An engine over the same model for which every response begins with a thought.

    What closes it, and what is around a tool call, is spelt by several tokens: half of all tokens spell "x", the other
    half "y", whatever they are, so that the marks come soon in what a random model writes.
    """
    from trimtab.thoughts import ThoughtFormat
    from trimtab.thoughts.reader import Reader

    form = ThoughtFormat(
        "spelt",
        begins="thought",
        kinds={"thought": "thought", "answer": "answer", "call": "call"},
        rules=(
            ("thought", "xy", "answer"),
            ("thought", "yyy", "answer"),
            ("thought", "xxx", "answer"),
            ("answer", "xxyx", "call"),
            ("call", "xy", "answer"),
        ),
    )
    made = TransformersEngine(engine.model, engine.tokenizer, model_id=engine.identity.id, thoughts=form)
    made.thoughts.__dict__["pieces"] = spelt(len(engine.tokenizer))
    assert isinstance(made.thoughts, Reader)
    return made


def spelt(size: int) -> list[bytes]:
    """What the tokens of a vocabulary spell in `thinking`."""
    return [b"xy"[token * 7 // 3 % 2 :][:1] for token in range(size)]
