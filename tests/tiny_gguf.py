"""A tiny model in a GGUF file, as llama.cpp's converter would write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tests.tiny import TEMPLATE, tiny_model, tiny_tokenizer


def tiny_gguf(
    path: Path,
    *,
    quantised: bool = True,
    template: str | None = TEMPLATE,
    kind: str = "Q8_0",
    add_bos: bool | None = None,
) -> Path:
    """Writes a tiny Llama with its tokenizer: matrices in blocks of a kind or not, the rest in float32."""
    import gguf

    model = tiny_model("llama", intermediate_size=64)  # blocks are 32 wide
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, config.vocab_size, template)
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)
    for name, weight in model.state_dict().items():
        _add_tensor(writer, config, name, weight.numpy(), kind if quantised else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: Any, size: int, template: str | None) -> None:
    import gguf

    tokens = sorted(tiny_tokenizer().get_vocab().items(), key=lambda item: item[1])
    names = [token for token, _ in tokens] + [
        "th",
        "he",
        "in",
        "er",
    ]  # a file without merges has no tokenizer
    assert len(names) == size
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    special = gguf.TokenType.CONTROL
    writer.add_token_types([special if number < 4 else gguf.TokenType.NORMAL for number in range(size)])
    writer.add_token_merges(["t h", "h e", "i n", "e r"])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if template is not None:
        writer.add_chat_template(template)


_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _add_tensor(writer: Any, config: Any, name: str, values: Any, kind: str | None) -> None:
    import gguf

    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(
        name.split(".")[-2]
    )
    if heads is not None:  # llama.cpp turns pairs of neighbours where transformers turns halves
        shape = heads, 2, values.shape[0] // heads // 2, *values.shape[1:]
        values = values.reshape(shape).swapaxes(1, 2).reshape(values.shape)
    short = name.removesuffix(".weight").replace("model.layers.", "blk.")
    prefix = ".".join(short.split(".")[:2]) + "." if short.startswith("blk.") else ""
    short = f"{prefix}{_NAMES[short.removeprefix(prefix)]}.weight"
    values = np.ascontiguousarray(values)
    if kind is not None and values.ndim == 2:
        blocks = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(short, gguf.quants.quantize(values, blocks), raw_dtype=blocks)
    else:
        writer.add_tensor(short, values)
