"""Where a layer has its residual stream, judged by its source: one example of each way that vLLM's layers have."""

from __future__ import annotations

import ast

import pytest

from trimtab.vllm.residual import judged

SUM = """
def forward(self, positions, hidden_states, residual):
    if residual is None:
        residual = hidden_states
        hidden_states = self.input_layernorm(hidden_states)
    else:
        hidden_states, residual = self.input_layernorm(hidden_states, residual)
    hidden_states = self.self_attn(positions, hidden_states)
    hidden_states, residual = self.post_attention_layernorm(hidden_states, residual)
    return self.mlp(hidden_states), residual
"""
STALE = """
def forward(self, positions, hidden_states, residual):
    residual = hidden_states
    hidden_states, residual = self.input_layernorm(hidden_states, residual)
    hidden_states = residual + self.self_attn(positions, hidden_states) + self.mlp(hidden_states)
    return hidden_states, residual
"""
HANDED_ON = """
def forward(self, hidden_states, residual):
    return self.mamba(hidden_states), residual
"""
NOT_GIVEN = """
def forward(self, positions, hidden_states):
    residual = hidden_states
    hidden_states = residual + self.mlp(hidden_states)
    return hidden_states, residual
"""
WHOLE = """
def forward(self, positions, hidden_states):
    return hidden_states + self.mlp(hidden_states)
"""
NOTHING_BESIDE = """
def forward(self, positions, hidden_states, residual):
    return hidden_states + self.mlp(hidden_states), None
"""
SOMETHING_ELSE = """
def forward(self, positions, hidden_states, kept):
    return hidden_states, kept
"""
TWO_KINDS = """
def forward(self, positions, hidden_states, residual):
    if self.last:
        return self.norm(hidden_states, residual), self.cache
    return hidden_states, residual
"""


@pytest.mark.parametrize(
    ("source", "stream"),
    [
        (SUM, "sum"),
        (STALE, "first"),
        (HANDED_ON, "first"),
        (NOT_GIVEN, "first"),
        (WHOLE, "first"),
        (NOTHING_BESIDE, "first"),
        (SOMETHING_ELSE, "unknown"),
        (TWO_KINDS, "unknown"),
    ],
)
def test_judged(source: str, stream: str) -> None:
    [function] = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert judged(function) == stream
