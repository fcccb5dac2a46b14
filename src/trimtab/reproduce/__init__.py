"""The experiments of Stolfo et al. (ICLR 2025) with their settings, on their models or on the built-in one.

A. Stolfo, V. Balachandran, S. Yousefi, E. Horvitz, B. Nushi: Improving Instruction-Following in Language Models through
Activation Steering, ICLR 2025, arXiv 2410.12877. The settings are those of its code, microsoft/llm-steer-instruct;
`trimtab.reproduce.paper` lists them with the file each was read in.
"""

from trimtab.reproduce.charts import Chart
from trimtab.reproduce.material import Material
from trimtab.reproduce.paper import MODELS, PaperModel
from trimtab.reproduce.protocol import Setup
from trimtab.reproduce.published import Published
from trimtab.reproduce.results import Reproduction, Table
from trimtab.reproduce.run import EXPERIMENTS, check_data, prepare, run

__all__ = [
    "EXPERIMENTS",
    "MODELS",
    "Chart",
    "Material",
    "PaperModel",
    "Published",
    "Reproduction",
    "Setup",
    "Table",
    "check_data",
    "prepare",
    "run",
]
