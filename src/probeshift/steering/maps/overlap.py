"""Does the text that aligns two models share words with the data of the concepts? Then a map proves nothing.

Least squares with fewer rows than dimensions carries the source difference of the very texts it was fitted on exactly onto
the target difference, whatever the texts: a cosine of one on noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from probeshift.errors import UsageError
from probeshift.steering.contrasts import Contrast
from probeshift.steering.maps.alignment import AlignmentText

# So many words in a row count as the same text; shorter texts count as a whole, down to a few words.
_RUN = 8
_SHORTEST = 4


def refuse_overlap(texts: Sequence[AlignmentText], rows: Iterable[Contrast]) -> None:
    """Refuse alignment texts that share a run of eight words, or a whole shorter text, with any prompt or response.

    Raises:
        UsageError: they do; the first shared words are shown.
    """
    concept = [_words(part) for row in rows for part in (row.prompt, row.response)]
    general = [_words(part) for text in texts for part in ((text,) if isinstance(text, str) else text)]
    sizes = {min(_RUN, len(words)) for words in (*concept, *general) if len(words) >= _SHORTEST}
    shared = _runs(concept, sizes) & _runs(general, sizes)
    # A short run inside two longer texts is everyday language; it counts only where it is a whole text of one side.
    whole = {words for words in (*concept, *general) if len(words) < _RUN}
    found = sorted(run for run in shared if len(run) == _RUN or run in whole)
    if found:
        raise UsageError(
            f"the alignment text shares {len(found)} passages with the concept data, for example `{' '.join(found[0])}`: a map "
            "fitted on them fits the vectors even where there is nothing to fit. Use other text for alignment."
        )


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))


def _runs(texts: Iterable[tuple[str, ...]], sizes: set[int]) -> set[tuple[str, ...]]:
    return {text[i : i + n] for text in texts for n in sizes for i in range(len(text) - n + 1)}
