"""A steering that version 0.1.0 wrote, byte by byte: it loads, and is still the same."""

from __future__ import annotations

from pathlib import Path

import torch

from trimtab.steering.steering import Steering
from trimtab.steering.when import Matches, Resembles

DOCUMENT = r"""{
  "format": "trimtab-steering",
  "format_version": 2,
  "name": "old+plain",
  "model": {"id": "fake", "revision": "abc", "architecture": "FakeForCausalLM", "blocks": 4, "width": 2,
            "chat_template": "plain"},
  "instructions": [],
  "method": "manual",
  "prompts": null,
  "settings": {"parts": [{"name": "old", "method": "manual", "prompts": null, "settings": {}},
                         {"name": "plain", "method": "manual", "prompts": null, "settings": {}}]},
  "measurements": {},
  "version": "0.1.0",
  "created": "2026-07-01T00:00:00+00:00",
  "edits": [{"block": 1, "alpha": 1.0, "tokens": "all", "gated": false, "condition": 0},
            {"block": 0, "alpha": 1.0, "tokens": "all", "gated": false}],
  "conditions": [{"kind": "all", "parts": [
      {"kind": "matches", "pattern": "(?i)river"},
      {"kind": "not", "parts": [{"kind": "resembles", "block": 2, "tokens": "mean", "threshold": 0.25,
                                 "measurements": {"f1": 0.5}}]}]}],
  "checksums": {
    "document": "sha256:ade8051ebda88f2bfce92c25e0968a657c0421eea55e08aa5c6a07a01a00abe0",
    "tensors": "sha256:dc1e8b681d9db452cffc4d9829b1f10e1b2350e90cf13502f31f8a20910d3e0f"
  }
}"""
TENSORS = (
    b'\xd0\x00\x00\x00\x00\x00\x00\x00{"conditions.0.1.0.direction":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
    b'"edits.0.u":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},'
    b'"edits.1.u":{"dtype":"F32","shape":[2],"data_offsets":[16,24]}}    '
    b"\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x80?\x00\x00\x00@\x00\x00@@\x00\x00\x80@"
)


def test_it_loads_and_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "steering.json").write_text(DOCUMENT)
    (tmp_path / "steering.safetensors").write_bytes(TENSORS)
    loaded = Steering.load(tmp_path)
    learned = Resembles(loaded.record.model, 2, torch.tensor([0.0, 1.0]), 0.25, "mean")
    assert [edit.when for edit in loaded.edits] == [Matches("(?i)river") & ~learned, None]
    assert [edit.u.tolist() for edit in loaded.edits] == [[1.0, 2.0], [3.0, 4.0]]
    assert loaded.digest() == "sha256:a0005496f0a2213dc8e67be154f5951d8acead0a33d1f1c5717c814ab79ed777"
    again = Steering.load(loaded.save(tmp_path / "again"))
    assert again.digest() == loaded.digest()
    assert again.whens == loaded.whens
