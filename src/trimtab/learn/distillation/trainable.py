"""Edits whose vectors are being learned.

Three forms of one edit per block (or `rank` of them), all of them the house's formula `h + (alpha + <p, h>) u`:

- `gated`: `u` and the gate `p` are learned, `alpha = 1`. It begins as an added vector, as `p` begins at 0.
- `vector`: `u` alone is learned: a steering vector found by gradient descent (as in A. Subramani, N. Suresh,
  M. Peters: Extracting Latent Steering Vectors from Pretrained Language Models, 2022).
- `loreft`: `h + R^T (W h + b - R h)` with one unit row R = r: `u = r`, `p = w - r`, `alpha = b` (Z. Wu et al.: ReFT:
  Representation Finetuning for Language Models, NeurIPS 2024, eq. 2). It begins with w = r: an added vector.

Everything is learned in units of the residual stream, so that one learning rate suits all models and blocks: with s
the root mean square of a block's output per coordinate, `u = s a` and `p = g / s` for parameters a and g.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trimtab.steering.blocks import DecoderBlocks, hidden_of, with_hidden
from trimtab.steering.edits import Edit, TokenScope, change

Form = Literal["gated", "vector", "loreft"]
FORMS: tuple[Form, ...] = get_args(Form)


class TrainableEdits(nn.Module):
    """Edits as parameters, applied by hooks through which gradients pass.

    Args:
        scales: `{block: s}`, the root mean square of a coordinate of the block's output, for every block to edit.
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
    def of(cls, edits: Sequence[Edit], scales: Mapping[int, float]) -> TrainableEdits:
        """Begin with given edits, whatever their number in each block, as gated ones.

        An added vector is a gated edit whose gate is shut, its strength put into `u`.

        Args:
            edits: What to begin with.
            scales: As above.
        """
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
        self._alpha[str(block)] = nn.Parameter(alpha, requires_grad=self.form == "loreft")

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
                found.append(Edit(block, u[row], float(alpha[row]), gate, self._scopes[block][row]))
        return tuple(found)

    @contextmanager
    def on(self, place: DecoderBlocks, generated: Tensor) -> Iterator[None]:
        """Apply the edits to every forward pass, backward passes included, of rows padded on the right.

        Args:
            place: The model's decoder blocks.
            generated: Bool `[rows, tokens]`, true at the tokens of the answers.
        """
        coefficients = {block: self._coefficients(block, generated) for block in self._scales}

        def hook(block: int) -> Callable[[nn.Module, Any, Any], Any]:
            def edit_output(module: nn.Module, args: Any, output: Any) -> Any:
                hidden = hidden_of(output)
                state = hidden.float()
                u, p, alpha = self.matrices(block, hidden.device)
                added = change(state, u, alpha, p, coefficients[block].to(hidden.device))
                return with_hidden(output, (state + added).to(hidden.dtype))

            return edit_output

        handles: list[RemovableHandle] = []
        try:
            handles.extend(place.blocks[block].register_forward_hook(hook(block)) for block in self._scales)
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _coefficients(self, block: int, generated: Tensor) -> Tensor:
        """`[rows, tokens, k]`, or `[1]` where every edit acts on every token."""
        scopes = self._scopes[block]
        if all(scope == "all" for scope in scopes):
            return torch.ones(1)
        acts = {"all": torch.ones_like(generated), "prompt": ~generated, "generated": generated}
        return torch.stack([acts[scope] for scope in scopes], dim=-1).float()
