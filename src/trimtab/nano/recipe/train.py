"""The recipe of nano: `python -m trimtab.nano.recipe.train`.

Two stages: nano-base learns plain documents, nano-instruct continues from it on chats with instructions. Both are
ordinary Llama models. The hidden matrices are trained with Muon (Jordan et al. 2024), the embedding and the norms with
AdamW. Every chunk of data is a function of the seed and its number, so that an interrupted run resumes where its last
checkpoint stands.
"""

from __future__ import annotations

import argparse
import random
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trimtab.files import write_bytes
from trimtab.nano.recipe.batches import IGNORED, Batch, Stage, chunk_of_batches
from trimtab.nano.recipe.corpus import sample_chat, sample_document
from trimtab.nano.recipe.tokenizer import CHAT_TEMPLATE, train_tokenizer
from trimtab.progress import shown

STAGES: tuple[Stage, ...] = ("base", "instruct")
TOKENIZER_EXAMPLES = 12_000
CHECKPOINT_EVERY = 4


@dataclass(frozen=True)
class Recipe:
    """All that decides what the weights become.

    Attributes:
        seed: Of data and initial weights.
        base_chunks, instruct_chunks: Chunks of 2,048 examples of each stage.
        hidden_size, layers, intermediate_size, heads: Shape of the Llama model.
        matrix_rate: Peak learning rate of Muon.
        vector_rate: Peak learning rate of AdamW.
        warmup: Share of a stage over which the rates rise; from then on they fall linearly to zero.
    """

    seed: int = 0
    base_chunks: int = 10
    instruct_chunks: int = 80
    hidden_size: int = 256
    layers: int = 5
    intermediate_size: int = 640
    heads: int = 4
    matrix_rate: float = 0.02
    vector_rate: float = 0.003
    warmup: float = 0.02

    def chunks(self, stage: Stage) -> int:
        """Number of chunks of a stage."""
        return self.base_chunks if stage == "base" else self.instruct_chunks

    def rate_factor(self, progress: float) -> float:
        """Learning-rate factor at a progress from 0 to 1 of a stage."""
        return min(progress / self.warmup, (1.0 - progress) / (1.0 - self.warmup))


class Trainer:
    """A model of one stage with its optimizers, its data and its checkpoints."""

    def __init__(
        self, recipe: Recipe, stage: Stage, work: Path, device: torch.device, *, compiled: bool
    ) -> None:
        self.recipe, self.stage, self.device = recipe, stage, device
        self.checkpoint = work / f"{stage}.checkpoint.safetensors"
        self.tokenizer = _tokenizer(recipe, work)
        torch.manual_seed(recipe.seed)
        self.model = LlamaForCausalLM(_config(recipe, len(self.tokenizer))).to(device)
        if stage == "instruct":
            self.model.load_state_dict(load_file(work / "base.safetensors"), strict=False)
            self.model.tie_weights()
        matrices = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        others = [p for p in self.model.parameters() if not any(p is matrix for matrix in matrices)]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.01),
            torch.optim.AdamW(others, lr=recipe.vector_rate, betas=(0.9, 0.95), weight_decay=0.01),
        ]
        if compiled:
            for layer in self.model.model.layers:
                layer.compile(dynamic=False)
        self.peak_rates = [recipe.matrix_rate, recipe.vector_rate]
        self.next_chunk = 0
        self.tokens = 0

    def run(self) -> None:
        """Trains from the last checkpoint to the end of the stage, and shows how far it is."""
        self._resume()
        total = self.recipe.chunks(self.stage)
        with shown(True) as tell:
            tell(f"nano-{self.stage}", self.next_chunk, total)
            for chunk in range(self.next_chunk, total):
                start = time.monotonic()
                loss, tokens = self._chunk(chunk, total)
                self.next_chunk, self.tokens = chunk + 1, self.tokens + tokens
                if self.next_chunk % CHECKPOINT_EVERY == 0 or self.next_chunk == total:
                    self._save_checkpoint()
                rate = tokens / (time.monotonic() - start)
                note = f"loss {loss:.4f}, {rate:,.0f} tokens/s"
                tell(f"nano-{self.stage}", self.next_chunk, total, note)

    def _chunk(self, chunk: int, total: int) -> tuple[float, int]:
        batches = chunk_of_batches(self.tokenizer, self.stage, self.recipe.seed, chunk)
        losses, tokens = 0.0, 0
        for index, batch in enumerate(batches):
            factor = self.recipe.rate_factor((chunk + (index + 1) / (len(batches) + 1)) / total)
            for optimizer, peak in zip(self.optimizers, self.peak_rates, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = peak * factor
            losses += self._step(batch)
            tokens += batch.ids.numel()
        return losses / len(batches), tokens

    def _step(self, batch: Batch) -> float:
        ids, positions, labels = (part.to(self.device) for part in batch)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
            logits = self.model.lm_head(hidden.flatten(0, 1)[positions])
        loss = nn.functional.cross_entropy(logits.float(), labels, ignore_index=IGNORED)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return float(loss.detach())

    def _save_checkpoint(self) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in _weights(self.model).items()}
        for number, optimizer in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    tensors[f"optimizer.{number}.{index}.{key}"] = torch.as_tensor(value).contiguous()
        settings = {
            "next_chunk": str(self.next_chunk),
            "tokens": str(self.tokens),
            "recipe": str(asdict(self.recipe)),
        }
        write_bytes(self.checkpoint, save(tensors, settings))
        if self.next_chunk == self.recipe.chunks(self.stage):
            weights = save(_weights(self.model), settings)
            write_bytes(self.checkpoint.parent / f"{self.stage}.safetensors", weights)

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        settings = _metadata(self.checkpoint)
        if settings["recipe"] != str(asdict(self.recipe)):
            raise SystemExit(
                f"error: {self.checkpoint} is of another recipe; delete it or choose another --work folder"
            )
        tensors = load_file(self.checkpoint, device=str(self.device))
        weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        self.model.load_state_dict(weights, strict=False)
        self.model.tie_weights()
        for number, optimizer in enumerate(self.optimizers):
            states: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in tensors.items():
                if name.startswith(f"optimizer.{number}."):
                    index, key = name.split(".")[2:]
                    states.setdefault(int(index), {})[key] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
        self.next_chunk, self.tokens = int(settings["next_chunk"]), int(settings["tokens"])


def _config(recipe: Recipe, vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=3,
        pad_token_id=0,
    )


def _tokenizer(recipe: Recipe, work: Path) -> PreTrainedTokenizerFast:
    folder = work / "tokenizer"
    if not folder.exists():
        rng = random.Random(f"{recipe.seed}/tokenizer")
        chats = (sample_chat(rng) for _ in range(TOKENIZER_EXAMPLES))
        texts = (text for chat in chats for text in (chat.prompt, chat.answer, sample_document(rng)))
        train_tokenizer(texts).save_pretrained(folder)
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return loaded


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights without the head, which is tied to the embedding."""
    return {name: t.contiguous() for name, t in model.state_dict().items() if name != "lm_head.weight"}


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def export(work: Path, stage: Stage, recipe: Recipe, out: Path, weights: Path | None = None) -> Path:
    """Writes a stage's model as a folder that `transformers` loads: config, tokenizer, bf16 weights."""
    tokenizer = _tokenizer(recipe, work)
    model = LlamaForCausalLM(_config(recipe, len(tokenizer)))
    model.load_state_dict(load_file(weights or work / f"{stage}.safetensors"), strict=False)
    model.tie_weights()
    if stage == "instruct":
        tokenizer.chat_template = CHAT_TEMPLATE
    folder = out / f"nano-{stage}"
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():  # safetensors writes for the owner only
        file.chmod(0o644)
    return folder


def main(arguments: list[str] | None = None) -> None:
    """Trains both stages and writes them."""
    parser = argparse.ArgumentParser(prog="python -m trimtab.nano.recipe.train", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("nano-training"), help="checkpoints; rerun to resume"
    )
    parser.add_argument("--out", type=Path, default=Path("nano-weights"), help="folder for the two models")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=shutil.which("c++") is not None,
        help="compile the blocks, 1.5 times as fast where there is a C++ compiler",
    )
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    recipe = Recipe()
    for stage in STAGES:
        if not (options.work / f"{stage}.safetensors").exists():
            Trainer(recipe, stage, options.work, torch.device(options.device), compiled=options.compile).run()
        print(export(options.work, stage, recipe, options.out))


if __name__ == "__main__":
    main()
