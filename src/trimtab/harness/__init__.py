"""lm-evaluation-harness on a steered model: its `--model trimtab`, with one steering or several and an instruction.

    python -m trimtab.harness run --model trimtab --model_args pretrained=smollm2,steering=lowercase --tasks arc_easy

Importing this package registers the model with lm-eval, which looks for no entry points of other packages; run as
above, it is lm-eval's own command line. (L. Gao and others, The Language Model Evaluation Harness, 2024,
doi 10.5281/zenodo.12608602.)
"""

from trimtab.errors import ModelError

try:
    import lm_eval  # noqa: F401
except ImportError as missing:
    raise ModelError(
        "lm-evaluation-harness is not installed; install trimtab's extra of that name: pip install 'trimtab[lm-eval]'"
    ) from missing

from trimtab.harness.model import SteeredLM

__all__ = ["SteeredLM"]
