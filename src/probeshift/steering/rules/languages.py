"""Which language a text is in. Deterministic; the classifier (py3langid, 97 languages) needs no network."""

from __future__ import annotations

import unicodedata

import numpy as np

from probeshift.steering.rules.wording import sentences

NAMES = {"es": "Spanish", "fr": "French", "de": "German", "zh": "Chinese"}

FEWEST_LETTERS = 30
LETTERS_PER_HAN = 2  # a Chinese character says about as much as two letters
LEAST_PROBABILITY = 0.9  # words without a language stay below


def is_written_in(language: str, text: str) -> bool | None:
    """True when the text, and each of its sentences that is long enough to tell, is in `language`.

    Long enough are 30 letters (15 Chinese characters); None when the whole text is shorter.
    """
    if _n_letters(text) < FEWEST_LETTERS:
        return None
    parts = [part for part in sentences(text) if _n_letters(part) >= FEWEST_LETTERS]
    # Sentence by sentence too: a text half in another language is given to one of the two with near certainty.
    whole = probabilities(text).get(language, 0.0) >= LEAST_PROBABILITY
    return whole and all(next(iter(probabilities(part))) == language for part in parts)


def _n_letters(text: str) -> int:
    return sum(LETTERS_PER_HAN if _is_han(c) else 1 for c in text if c.isalpha())


def probabilities(text: str) -> dict[str, float]:
    """The probability of each language (ISO 639 codes), most probable first. Source: Lui and Baldwin 2012 (langid.py)."""
    from py3langid import rank

    names, scores = zip(*rank(text), strict=True)
    shares = np.exp(np.array(scores, dtype=np.float64) - max(scores))
    return dict(zip(names, (shares / shares.sum()).tolist(), strict=True))


def _is_han(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("CJK UNIFIED IDEOGRAPH")
