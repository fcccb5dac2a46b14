"""Edits whose vectors are being learned.

Four forms of one edit per block (or `rank` of them), three of them the house's formula `h + (alpha + <p, h>) u`:

- `gated`: `u` and the gate `p` are learned, `alpha = 1`. It begins as an added vector, as `p` begins at 0.
- `vector`: `u` alone is learned: a steering vector found by gradient descent (as in A. Subramani, N. Suresh,
  M. Peters: Extracting Latent Steering Vectors from Pretrained Language Models, 2022).
- `loreft`: `h + R^T (W h + b - R h)` with one unit row R = r: `u = r`, `p = w - r`, `alpha = b` (Z. Wu et al.: ReFT:
  Representation Finetuning for Language Models, NeurIPS 2024, eq. 2). It begins with w = r: an added vector.
- `psr`: `h + max(0, b + <w, h>) z`, a direction with a ReLU probe for each token: `u = z`, `p = w`, `alpha = b` (G.
  Heyman, F. Vandeputte: Steer Like the LLM: Activation Steering that Mimics Prompting, ICML 2026, eqs. 7 and 8). It
  begins with w = 0 and b = 1, an added vector, so that no probe is dead from the start.

Everything is learned in units of the residual stream, so that one learning rate suits all models and blocks: with s
the size of a coordinate of a block's output (`size_of`), `u = s a` and `p = g / s` for parameters a and g.

In a training loop of one's own:

    edits = TrainableEdits.for_model(model, inputs, blocks=[4, 8])
    optimizer = torch.optim.Adam(edits.groups(0.03, 0.003))
    with edits.on(model):
        model(**inputs, labels=labels).loss.backward()
    optimizer.step()
    steering = edits.steering("mine", model, tokenizer)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from trimtab.errors import ModelError, SteeringError
from trimtab.steering.blocks import DecoderBlocks
from trimtab.steering.edits import Edit, TokenScope, acting, change
from trimtab.steering.held import blocks_of, held_identity
from trimtab.steering.hooks import Steered
from trimtab.steering.phases import PromptLengths, row_lengths
from trimtab.steering.reading import reading
from trimtab.steering.record import Record
from trimtab.steering.steering import Steering
from trimtab.thoughts import Reader

Form = Literal["gated", "vector", "loreft", "psr"]
FORMS: tuple[Form, ...] = get_args(Form)

_MASSIVE = (
    3.5  # times the median coordinate: the root mean square of a usual residual stream is 1.4 to 3.3 times it
)
_LEAST = 1e-6


def size_of(states: Tensor) -> float:
    """How large a coordinate of the residual stream is: the unit in which edits are learned.

    It is the root mean square of a token's coordinates, but at most 3.5 times their median, at the median token. Few
    tokens, the first above all, and in some models a few channels are a hundred times as large as the others (M. Sun
    et al.: Massive Activations in Large Language Models, 2024) and say nothing about these: in Gemma 3 270M the root
    mean square is up to 42 times the median coordinate.

    Args:
        states: `[tokens, d]`, any floating dtype.
    """
    states = states.float()
    typical = states.abs().median(-1).values
    sizes = states.pow(2).mean(-1).sqrt()
    return max(float(torch.where(typical > 0, sizes.minimum(_MASSIVE * typical), sizes).median()), _LEAST)


class TrainableEdits(nn.Module):
    """Edits as parameters, applied by hooks through which gradients pass.

    Args:
        scales: `{block: s}`, the size of a coordinate of the block's output (`size_of`), for every block to edit.
        starts: `{block: [d]}`, what is added at the beginning, in units of the model.
        form: What is learned.
        rank: Edits per block.
        tokens: Which tokens are changed.
        seed: Draws the gates of the second and further edits of a block, which begin by adding nothing.
    """

    def __init__(
        self,
        scales: Mapping[int, float],
        starts: Mapping[int, Tensor],
        *,
        form: Form = "gated",
        rank: int = 1,
        tokens: TokenScope = "all",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.form = form
        self._scales = {block: scales[block] for block in sorted(starts)}
        self._scopes: dict[int, list[TokenScope]] = {block: [tokens] * rank for block in self._scales}
        self._u, self._p, self._alpha = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        random = torch.Generator().manual_seed(seed)
        for block, scale in self._scales.items():
            start = starts[block].float() / scale
            width = len(start)
            u, p, alpha = torch.zeros(rank, width), torch.zeros(rank, width), torch.zeros(rank)
            u[0], alpha[0] = start, 1.0
            for row in range(1, rank):
                p[row] = torch.randn(width, generator=random) / width**0.5
            if form == "loreft":
                norm = float(start.norm())
                u = torch.randn(rank, width, generator=random)
                u[0] = start if norm else u[0]
                u, p = u / u.norm(dim=-1, keepdim=True), torch.zeros(rank, width)
                alpha[0] = norm
            self._put(block, u, p, alpha)

    @classmethod
    def for_model(
        cls,
        model: Any,
        inputs: Mapping[str, Any],
        *,
        blocks: Sequence[int],
        form: Form = "gated",
        rank: int = 1,
        tokens: TokenScope = "all",
        seed: int = 0,
    ) -> TrainableEdits:
        """Edits that begin by changing nothing, for a training loop of one's own.

        Args:
            model: A causal language model of transformers.
            inputs: Some of what it is going to read, `input_ids` and `attention_mask` `[rows, tokens]`: how large its
                block outputs are there sets the units in which the edits are learned.
            blocks: The 0-based blocks to edit.
            form: What is learned; see the module.
            rank: Edits per block.
            tokens: Which tokens are changed.
            seed: Draws what does not begin at zero.

        Raises:
            ModelError: The model is none, or has no such block.
        """
        place = blocks_of(model)
        wanted = sorted(set(blocks))
        if not wanted or not 0 <= wanted[0] <= wanted[-1] < len(place.blocks):
            raise ModelError(
                f"blocks={list(blocks)}: the model has blocks 0 to {len(place.blocks) - 1}; name one or more"
            )
        given = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        mask = given.get("attention_mask", torch.ones_like(given["input_ids"])).bool()
        scales: dict[int, float] = {}
        starts: dict[int, Tensor] = {}

        def read(block: int, hidden: Tensor) -> None:
            scales[block] = size_of(hidden[mask.to(hidden.device)])
            starts[block] = torch.zeros(hidden.shape[-1])

        with torch.no_grad(), reading(place, wanted, read) as run:
            run(**given, use_cache=False)
        made = cls(scales, starts, form=form, rank=rank, tokens=tokens, seed=seed)
        return made.to(mask.device)

    @classmethod
    def of(cls, edits: Sequence[Edit], scales: Mapping[int, float]) -> TrainableEdits:
        """Begin with given edits, whatever their number in each block, as gated ones.

        An added vector is a gated edit whose gate is shut, its strength put into `u`.

        Args:
            edits: What to begin with.
            scales: As above.

        Raises:
            SteeringError: An edit is rectified.
        """
        if any(edit.rectified for edit in edits):
            raise SteeringError("rectified edits (form psr) are nothing to start from; learn them anew")
        made = cls(scales, {})
        for block in sorted({edit.block for edit in edits}):
            made._scales[block] = scales[block]
            own = [edit for edit in edits if edit.block == block]
            made._scopes[block] = [edit.tokens for edit in own]
            strengths = torch.tensor([edit.alpha or 1.0 for edit in own])[:, None]
            gates = torch.stack([torch.zeros(edit.width) if edit.p is None else edit.p for edit in own])
            made._put(
                block,
                torch.stack([edit.u for edit in own]) * strengths / scales[block],
                gates / strengths * scales[block],
                torch.tensor([float(edit.alpha != 0) for edit in own]),
            )
        return made

    def grow(self, edits: Sequence[Edit]) -> None:
        """Take over what fewer edits have learned; the others begin by adding nothing.

        Args:
            edits: Gated edits of `self.edits()` of a smaller set.
        """
        small = TrainableEdits.of(edits, self._scales)
        with torch.no_grad():
            for block in self._scales:
                name, known = str(block), len(small._u[str(block)]) if block in small._scales else 0
                if known:
                    self._u[name][:known] = small._u[name]
                    self._p[name][:known] = small._p[name]
                    self._alpha[name][:known] = small._alpha[name]
                else:
                    self._u[name][0] = 0.0

    def _put(self, block: int, u: Tensor, p: Tensor, alpha: Tensor) -> None:
        self._u[str(block)] = nn.Parameter(u)
        self._p[str(block)] = nn.Parameter(p, requires_grad=self.form != "vector")
        self._alpha[str(block)] = nn.Parameter(alpha, requires_grad=self.form in ("loreft", "psr"))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks edited, in ascending order."""
        return tuple(self._scales)

    @property
    def scopes(self) -> dict[int, list[TokenScope]]:
        """Which tokens each edit of each block acts on."""
        return self._scopes

    @property
    def size(self) -> int:
        """How many edits there are."""
        return sum(len(u) for u in self._u.values())

    def groups(self, rate: float, gate_rate: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimiser, gates with their own learning rate."""
        added = [*self._u.values(), *(alpha for alpha in self._alpha.values() if alpha.requires_grad)]
        gates = [p for p in self._p.values() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": added, "lr": rate}]
        return groups + ([{"params": gates, "lr": gate_rate}] if gates else [])

    def learned(self) -> list[nn.Parameter]:
        """The parameters that are learned."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def matrices(self, block: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """`u` and `p`, both `[k, d]`, and `alpha`, `[k]`, of one block, in units of the model."""
        scale = self._scales[block]
        u, p = self._u[str(block)].to(device), self._p[str(block)].to(device)
        alpha = self._alpha[str(block)].to(device)
        if self.form == "loreft":  # p holds w - r, alpha b, in units of the residual stream: r is a direction
            u = u / u.norm(dim=-1, keepdim=True)
            return u, p, alpha * scale
        return u * scale, p / scale, alpha

    def edits(self) -> tuple[Edit, ...]:
        """What was learned, as edits."""
        found = []
        for block in self._scales:
            u, p, alpha = (tensor.detach() for tensor in self.matrices(block, torch.device("cpu")))
            for row in range(len(u)):
                gate = p[row] if bool(p[row].any()) else None
                scope, rectified = self._scopes[block][row], self.form == "psr"
                found.append(Edit(block, u[row], float(alpha[row]), gate, scope, rectified=rectified))
        return tuple(found)

    def on(
        self,
        model: Any,
        prompt_lengths: PromptLengths | None = None,
        *,
        generated: Tensor | None = None,
        thoughts: Reader | None = None,
    ) -> Steered:
        """A context in which the edits act in every forward pass, with gradients; steerings entered beside them add up.

        Call `backward()` inside it if activations are computed again for it (gradient checkpointing).

        Args:
            model: A causal language model of transformers, or its decoder blocks.
            prompt_lengths: As for `trimtab.on`, for edits of the prompt's or the generated tokens alone.
            generated: Instead of these, bool `[rows, tokens]`, true at the tokens that count as generated.
            thoughts: Tells the answer from what is thought before, for edits of the answer alone
                (`trimtab.thoughts.Reader(tokenizer)`); None takes all that is generated for answer.

        Raises:
            ModelError: As `trimtab.on`.
        """
        held = isinstance(model, DecoderBlocks)
        place = model if held else blocks_of(model)
        lengths = row_lengths(prompt_lengths) if generated is None else generated
        around = None if held else model
        return Steered(place, [], lengths, learning=self, model=around, thoughts=thoughts)

    def steering(self, name: str, model: Any, tokenizer: Any) -> Steering:
        """What was learned, as a steering to keep: the edits as they are now.

        Args:
            name: What to call it.
            model: The model they were learned on.
            tokenizer: Its tokenizer, whose chat template the steering belongs to.
        """
        settings = {"form": self.form, "blocks": list(self.blocks), "edits": self.size}
        return Steering(
            name, self.edits(), Record(held_identity(model, tokenizer), method="trained", settings=settings)
        )

    @property
    def is_scoped(self) -> bool:
        """Whether some edits act on the prompt's or the generated tokens alone."""
        return any(scope != "all" for scopes in self._scopes.values() for scope in scopes)

    @property
    def is_for_answers(self) -> bool:
        """Whether some edits act on the answer alone."""
        return any(scope == "answer" for scopes in self._scopes.values() for scope in scopes)

    def change(self, block: int, hidden: Tensor, phases: Tensor | None) -> Tensor:
        """What the edits add to the output of a block.

        Args:
            block: The block.
            hidden: `[rows, tokens, d]` float32.
            phases: Broadcastable to `[rows, tokens]`, as `EditTable.apply` takes them; needed if they are scoped.
        """
        u, p, alpha = self.matrices(block, hidden.device)
        rectified = torch.ones_like(alpha, dtype=torch.bool) if self.form == "psr" else None
        coefficients = self._coefficients(block, phases).to(hidden.device)
        return change(hidden, u, alpha, p, coefficients, rectified)

    def _coefficients(self, block: int, phases: Tensor | None) -> Tensor:
        """`[rows, tokens, k]`, or `[1]` where every edit acts on every token."""
        scopes = self._scopes[block]
        if phases is None or all(scope == "all" for scope in scopes):
            return torch.ones(1)
        return torch.stack([acting(scope, phases) for scope in scopes], dim=-1).float()
