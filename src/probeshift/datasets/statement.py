"""A statement: one text the model reads, and whether it is true."""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = ("train", "selection", "test")


@dataclass(frozen=True, slots=True)
class Statement:
    """One row of a dataset.

    `label` says whether the statement is true; in data for regression it is the number to predict.
    `row_id` is unique within the dataset. `group` names the question the row answers (rows of one question are ranked
    against each other); None when the dataset has no questions. `answer_type` says which kind of answer is offered
    (option "0" or "1", "pos" or "neg"); None when that means nothing. `entity` is what an honest split keeps on one
    side (the city, the word).
    """

    dataset: str
    row_id: str
    text: str
    label: bool | float
    split: str
    group: str | None = None
    answer_type: str | None = None
    entity: str | None = None
