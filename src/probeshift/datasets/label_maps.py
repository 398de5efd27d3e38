"""What the named labels of alignment-faking data mean: does the text show the behaviour or not?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from probeshift.arrays import Labels
from probeshift.errors import UsageError, nearest

_SHOWN = ("alignment_faking", "potential_faking", "faking", "scheming")
_NOT_SHOWN = ("aligned", "genuine_compliance", "hard_negative", "compliant", "compliant_hard_negative")
ALIGNMENT_FAKING: Mapping[str, bool] = MappingProxyType(
    {**dict.fromkeys(_SHOWN, True), **dict.fromkeys(_NOT_SHOWN, False)}
)
_NUMBERS = {"0": False, "1": True, "0.0": False, "1.0": True, "False": False, "True": True}


def label_truths(values: Sequence[Any], *, where: str, also: Mapping[str, bool] | None = None) -> Labels:
    """True where a row shows the behaviour. 0 and 1 are taken as they are; words by the map, `also` over the shipped one.

    Raises:
        UsageError: a label that no map knows; it is named with its first row.
    """
    known = {**_NUMBERS, **ALIGNMENT_FAKING, **(also or {})}
    words = [str(value) for value in values]
    for row, word in enumerate(words):
        if word not in known:
            names = [name for name in known if name not in _NUMBERS]
            raise UsageError(
                f"{where} has the unknown label `{word}` (row {row}). {nearest(word, names)} "
                f"Say what it means under `labels:` in the config, as `{word}: 1` or `{word}: 0`."
            )
    return np.array([known[word] for word in words], dtype=bool)
