"""The settings of the paper, each with the place it was read in.

Paths are those of the repository microsoft/llm-steer-instruct. What the choice of a block goes by is in
`trimtab.tune.paper`. A setting that its code leaves open is None here, and
the experiment then searches for it on validation prompts, or says what it takes instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.errors import TrimtabError
from trimtab.tune.paper import searched_blocks

FORMAT_VALIDATION = 10
"""Validation prompts per instruction (config/format/find_best_layer.yaml); one for each language."""

FORMAT_TOKENS = 2048
"""Longest answer in the format experiment (config/format/format_evaluation.yaml)."""

SEARCH_TOKENS = 768
"""Longest answer in the search (config/format/find_best_layer.yaml); 1024 for json and sections."""

LENGTH_QUERIES = 50
"""Queries of the length experiment, the last ones of the file (config/length_evaluation.yaml, `n_examples`)."""

LENGTH_PAIRS = 50
"""Prompt pairs of the conciseness vector (config/length_evaluation.yaml, `high_level_50examples_hs.h5`)."""

LENGTH_WEIGHTS = (0.0, 5.0, 10.0, 20.0, 40.0)
"""Weights of the unit vector (length/out/phi-3/1-2sentences_50examples/add_vector_long-short_12/args.yaml), without the
60 that length/visualize_different_steering_weights.py leaves out. That vector is called long-short there; the one of
conciseness was kept with the weight 20 only."""

MOST_SENTENCES = 5
"""Answers of at most 1 to 5 sentences (config/length_evaluation.yaml, `n_sent_max`)."""

LENGTH_TOKENS = 1024
"""Longest answer in the length and keyword experiments (config/length_evaluation.yaml, keyword_evaluation.yaml)."""

KEYWORD_PAIRS = 20
"""Prompt pairs of each word's vector (keywords/load_results.py, `n_examples`)."""

KEYWORD_WEIGHTS = {"include": (60.0, 80.0, 100.0, 120.0), "exclude": (-120.0, -150.0, -200.0)}
"""Weights searched where none is stated: those of the outputs kept in keywords/out/."""

COMPOSITION_SEED = 42
"""Draws the number of sentences of each prompt (config/composition/evaluation.yaml)."""


@dataclass(frozen=True)
class Addition:
    """A unit vector times a weight, in units of the residual stream, added to the output of one block (0-based)."""

    block: int
    weight: float


@dataclass(frozen=True)
class PaperModel:
    """A model of the paper and what its code sets for it.

    Attributes:
        name: What to call it on the command line.
        hub: Its name on the Hub.
        base: The base model of the transfer experiment, if it has one.
        step: The search takes every `step`-th block from a fifth of the depth on.
        length_block: Where the conciseness vector is added; None where the code has no block, and one of the same
            relative depth as Phi-3's is then taken.
        length_weight: Its weight beside a text instruction.
        length_weights: Its weights without one.
        include: Where and how strongly a word's vector is added; None for a search.
        exclude: The same for a word to avoid: the inclusion vector, turned round.
        keyword_weights: The weights of that search, by kind.
        multiples: Weights are multiples of the instruction's own effect instead of units of the residual stream.
    """

    name: str
    hub: str
    base: str | None = None
    step: int = 2
    length_block: int | None = None
    length_weight: float = 20.0
    length_weights: tuple[float, ...] = LENGTH_WEIGHTS
    include: Addition | None = None
    exclude: Addition | None = None
    keyword_weights: tuple[tuple[str, tuple[float, ...]], ...] = tuple(KEYWORD_WEIGHTS.items())
    multiples: bool = False

    def search_blocks(self, blocks: int) -> tuple[int, ...]:
        """The blocks of the search, for a model of so many."""
        return tuple(searched_blocks(blocks, self.step))

    def block_for_length(self, blocks: int) -> int:
        """Where the conciseness vector is added, in a model of so many blocks."""
        if self.length_block is not None and self.length_block < blocks:
            return self.length_block
        return min(12 * blocks // 32, blocks - 1)


MODELS = {
    model.name: model
    for model in (
        # length: config/length_evaluation.yaml; keywords: keywords/load_results.py, keywords/visualize_results.py
        PaperModel(
            "phi-3",
            "microsoft/Phi-3-mini-4k-instruct",
            length_block=12,
            include=Addition(24, 120.0),
            exclude=Addition(24, -150.0),
        ),
        PaperModel("gemma-2-2b", "google/gemma-2-2b-it", base="google/gemma-2-2b"),
        # step: format/find_best_layer.py; length, of a vector called long:
        # length/out/gemma-2-9b/1-2sentences_50examples/add_vector_long_16/args.yaml
        PaperModel(
            "gemma-2-9b",
            "google/gemma-2-9b-it",
            base="google/gemma-2-9b",
            step=3,
            length_block=16,
            length_weights=(0.0, 50.0, 100.0, 150.0, 200.0),
        ),
        PaperModel("mistral-7b", "mistralai/Mistral-7B-Instruct-v0.1"),
        # The built-in model: our own settings, for a residual stream of another size and 5 blocks.
        PaperModel(
            "nano",
            "nano",
            base="nano-base",
            step=1,
            length_weight=4.0,
            length_weights=(0.0, 1.0, 2.0, 4.0, 8.0),
            keyword_weights=(("include", (2.0, 4.0, 8.0)), ("exclude", (-2.0, -4.0, -8.0))),
            multiples=True,
        ),
    )
}


def settings_for(model: str, like: str | None = None) -> PaperModel:
    """The settings of a model of `MODELS`, given by its name there, its name on the Hub, or another's name in `like`.

    A model that the paper does not have gets those of Phi-3.
    """
    if like is not None:
        if like not in MODELS:
            raise TrimtabError(f"there are no settings for {like!r}; there are {', '.join(MODELS)}")
        return MODELS[like]
    for known in MODELS.values():
        if model in (known.name, known.hub, known.base, f"{known.hub}-instruct"):
            return known
    return MODELS["phi-3"]
