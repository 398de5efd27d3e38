"""What a run asked and what came out, in plain sentences made from its saved numbers, for a reader who knows none of its words.

Every number in them is a saved one, with its interval and n where it has one; verdicts are those of the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from probeshift.report.html.run_folder import RunFolder
from probeshift.report.html.sentences_of_probes import of_datasets, of_mixtures, of_positions
from probeshift.report.html.sentences_of_vectors import of_models, of_steering

TITLES = {
    "dataset": "Another dataset", "mixture": "Another training mixture", "position": "Another layer and token",
    "model": "Another model", "steering": "The vector put to use", "": "The run",
}  # fmt: skip
ASKED = {
    "dataset": "A direction that tells true from false statements was found on one dataset. Does it do so on another?",
    "mixture": "A probe was trained on a mixture of sources that grows. Do sources it has not seen gain from it?",
    "position": "The model has read questions and written nothing yet. At which layer, and at which token at the end of the prompt, can "
    "the answer be read?",
    "model": "A vector was made in one model and carried to another by a map fitted on plain text. Is it still the same vector there?",
    "steering": "A vector was put into the model's activations while it wrote. What does it write, and what does that cost?",
    "": "",
}
_TELLERS: dict[str, Callable[[RunFolder], Iterator[str]]] = {
    "dataset": of_datasets, "mixture": of_mixtures, "position": of_positions, "model": of_models, "steering": of_steering,
}  # fmt: skip


def introduction(run: RunFolder) -> list[str]:
    """The sentences on what came out; none for a run of another kind, or one that lacks the tables for it."""
    told = _TELLERS.get(run.kind)
    return list(told(run)) if told else []


def told(run: RunFolder) -> dict[str, Any]:
    """Kind, title, question and sentences of a run, for the page."""
    return {"kind": run.kind, "title": TITLES[run.kind], "asked": ASKED[run.kind], "found": introduction(run)}
