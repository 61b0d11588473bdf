"""Filters that make score maps follow the edges of images; useful alone, in place of pydensecrf.

Compiled kernels on the CPU where setup.py found a compiler, numpy elsewhere: `describe_kernels`
tells. docs/filters.md says which parameters help.
"""

from seg_perception.filters.linear import (
    BoxFilter,
    GuidedFilter,
    LinearFilter,
    PermutohedralLattice,
)
from seg_perception.filters.mean_field import (
    dense_crf,
    guided_crf,
    lattice_mean_field,
    probs_to_scores,
)
from seg_perception.filters.native import describe_kernels, num_threads, set_num_threads

__all__ = [
    "BoxFilter",
    "GuidedFilter",
    "LinearFilter",
    "PermutohedralLattice",
    "dense_crf",
    "describe_kernels",
    "guided_crf",
    "lattice_mean_field",
    "num_threads",
    "probs_to_scores",
    "set_num_threads",
]
