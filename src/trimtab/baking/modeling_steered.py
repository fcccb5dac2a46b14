"""A language model of transformers some of whose decoder blocks carry edits; written by `trimtab bake`.

It needs nothing but torch and transformers. An edit changes the output h of its block to h + (alpha + <p, h>) u. All
edits of a block read the same h, and are computed in float32 or more. Edits for tokens of the prompt or of the answer
alone go by the cache, as `generate` fills it: what fills an empty one is the prompt, what comes after it, one by one,
the answer.
"""

import inspect

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM


class Phase:
    """Which tokens the pass under way is of."""

    written, seen = False, 0

    def begin(self, decoder, args, kwargs):
        """Before a pass of the decoder; refuses one in which prompt and answer cannot be told apart."""
        given = inspect.signature(decoder.forward).bind_partial(*args, **kwargs).arguments
        given.update(given.pop("kwargs", {}))
        tokens = given["input_ids"] if given.get("input_ids") is not None else given["inputs_embeds"]
        cache = given.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        if cache is None and given.get("use_cache") is not True:
            raise ValueError(
                "some edits are for the prompt or the answer alone: run this model with use_cache=True"
            )
        if past and (tokens.shape[1] > 1 or past != self.seen):
            raise ValueError(
                "some edits are for the prompt or the answer alone: fill an empty cache with the whole prompt, then "
                f"add tokens one by one (this pass adds {tokens.shape[1]} to {past}, of which {self.seen} were seen)"
            )
        self.written, self.seen = past > 0, past + tokens.shape[1]


class Edits(nn.Module):
    """The edits of one block. `on` says how much of each tokens of the prompt get, and tokens of the answer."""

    def __init__(self, edits, width, phase):
        super().__init__()
        self.phase = phase
        self.u, self.p = (nn.Parameter(torch.zeros(edits, width)) for _ in range(2))
        self.alpha = nn.Parameter(torch.zeros(edits))
        self.register_buffer("on", torch.zeros(2, edits))

    def forward(self, hidden):
        """The output of the block after its edits, `[rows, tokens, width]`, in its own dtype."""
        wide = torch.promote_types(hidden.dtype, torch.float32)
        u, p, alpha, on = (value.to(wide) for value in (self.u, self.p, self.alpha, self.on))
        state = hidden.to(wide)
        amount = nn.functional.linear(state, p, alpha) * on[int(self.phase.written)]
        return (state + amount @ u).to(hidden.dtype)


def edit(block, args, output):
    """The hook behind a block: some give a tuple with the hidden states first."""
    if isinstance(output, tuple | list):
        return type(output)((block.steering(output[0]), *output[1:]))
    return block.steering(output)


class SteeredConfig(LlamaConfig):
    """As of the model without edits. Its type is another, so that nothing runs the weights without them."""

    model_type = "steered_llama"


class SteeredForCausalLM(LlamaForCausalLM):
    """The model with its edits, which are weights of its blocks like any others, kept in float32."""

    config_class = SteeredConfig
    _keep_in_fp32_modules_strict = {*(LlamaForCausalLM._keep_in_fp32_modules_strict or ()), "steering"}

    def __init__(self, config):
        super().__init__(config)
        told, phase = config.steering, Phase()
        for number, edits in told["edits"].items():
            block = self.get_submodule(f"{told['blocks']}.{number}")
            block.steering = Edits(edits, told["width"], phase)
            block.register_forward_hook(edit)
        if told["scoped"]:
            self.get_submodule(told["decoder"]).register_forward_pre_hook(phase.begin, with_kwargs=True)
