"""Refiners: anything that maps scores to better scores, behind one protocol.

`prepare` runs once a frame, `step` some number of times, and every state can be read as scores, so
that inference can stop at a deadline.
"""

from training.refiners.code import CodeConfig, CodeRefiner, CodeState, Prepared
from training.refiners.evidence import EvidenceBatch, PooledEvidence, pool_evidence

__all__ = [
    "CodeConfig",
    "CodeRefiner",
    "CodeState",
    "EvidenceBatch",
    "PooledEvidence",
    "Prepared",
    "pool_evidence",
]
