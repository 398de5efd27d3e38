"""A saved probe on new texts: what it says of each, and whether it may be used there at all."""

from probeshift.scoring.fitting_together import Mismatch, mismatches, refuse
from probeshift.scoring.scorer import Score, TokenScore, score_texts

__all__ = ["Mismatch", "Score", "TokenScore", "mismatches", "refuse", "score_texts"]
