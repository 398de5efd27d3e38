"""Real files in their published layouts, with the counts and leaks the literature reports for them."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from probeshift.datasets import DATASETS, Dataset, audit, load_dataset, load_file
from probeshift.datasets.dlk_layouts import BOOLQ_LAYOUTS
from probeshift.datasets.reading import read_rows
from probeshift.datasets.repe_layouts import CHOICE_LAYOUTS
from probeshift.datasets.truthfulqa import TRUTHFUL_QA

DATA = Path(os.environ.get("PROBESHIFT_DATA") or Path(__file__).parents[1] / "../shared/data")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no folder of real data: set PROBESHIFT_DATA to run these")


def load(name: str, **options) -> Dataset:
    from probeshift.errors import MissingError

    try:
        return load_dataset(name, data_dir=DATA, source="local", **options)
    except MissingError as error:
        pytest.skip(str(error))


def converted(name: str, layouts) -> list[dict]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not in the folder of real data")
    rows = list(read_rows(path))
    layout = next(layout for layout in layouts if layout.accepts(rows[0]))
    return [fields for row in rows for fields in layout.convert(row)]


@pytest.mark.parametrize(
    ("name", "questions"),
    [
        ("got_cities", (887, 306, 303)),
        ("got_sp_en_trans", (231, 65, 58)),
        ("got_larger_than", (1182, 385, 413)),
        ("got_cities_cities_conj", (847, 329, 322)),
        ("got_cities_cities_disj", (906, 300, 292)),
        ("rte", (1880, 610, 277)),
    ],
)
def test_published_question_counts_are_reproduced(name, questions):
    assert tuple(split.n_questions for split in audit(load(name)).splits) == questions


def test_truthful_qa_has_652_test_questions():
    dataset = load("truthful_qa")
    if audit(dataset).splits[1].n_questions + audit(dataset).splits[2].n_questions != 817:
        pytest.skip("the folder holds another revision of TruthfulQA than the one of 817 questions")
    assert tuple(split.n_questions for split in audit(dataset).splits) == (0, 165, 652)


def test_28_percent_of_got_cities_test_rows_have_a_city_of_the_used_train_rows():
    assert audit(load("got_cities")).entity_leak.share == pytest.approx(0.28, abs=0.005)  # published as 28 %


@pytest.mark.parametrize("name", [spec.name for spec in DATASETS if spec.family == "got"] + ["race"])
def test_splitting_by_entity_closes_the_leak(name):
    assert audit(load(name, split_by="entity")).entity_leak_whole_train.n_rows == 0


def test_sp_en_trans_repeats_three_statements_in_each_file():
    assert audit(load("got_sp_en_trans")).duplicate_statements == 6


@pytest.mark.parametrize(
    ("name", "true_share"), [("got_cities_cities_conj", 0.5007), ("got_cities_cities_disj", 0.4993)]
)
def test_two_city_sets_have_the_published_balance(name, true_share):
    rows = load(name).statements
    assert round(sum(row.label for row in rows) / len(rows), 4) == true_share


@pytest.mark.parametrize("name", [spec.name for spec in DATASETS if spec.family != "facts"])
def test_every_set_found_has_unique_rows_and_both_labels(name):
    dataset = load(name)
    assert len({row.row_id for row in dataset.statements}) == len(dataset.statements)
    assert {row.label for row in dataset.statements} == {True, False}
    assert not any("<br" in row.text for row in dataset.statements if name == "imdb")
    if dataset.spec.grouped:
        assert audit(dataset).one_label_questions == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("repe/openbookqa_test.jsonl", "repe/openbookqa_llmfoundry.jsonl"),
        ("repe/openbookqa_test.jsonl", "repe/openbookqa_llm_adapters_test.json"),
        ("repe/arc_challenge_llmfoundry.jsonl", "repe/ARC-Challenge_llm_adapters_test.json"),
        ("repe/arc_challenge_llmfoundry.jsonl", "repe/arc_challenge_hf_layout_test.jsonl"),
        ("repe/arc_easy_llmfoundry.jsonl", "repe/ARC-Easy_llm_adapters_test.json"),
        ("repe/csqa_dev_rand_split.jsonl", "repe/csqa_llmfoundry.jsonl"),
    ],
)
def test_two_publications_of_a_set_give_the_same_right_answers(one, other):
    first, second = (
        Counter(row["options"][row["gold"]].strip(" .").lower() for row in converted(name, CHOICE_LAYOUTS))
        for name in (one, other)
    )
    shared = (first & second).total() / min(first.total(), second.total())
    assert shared > 0.97  # the copies differ in white space and a few corrected typos


def test_two_publications_of_boolq_give_the_same_labels():
    original = converted("dlk/boolq_dev.jsonl", BOOLQ_LAYOUTS)
    copy = converted("dlk/boolq_llmfoundry.jsonl", BOOLQ_LAYOUTS)
    assert [(row["question"], row["label"]) for row in original[: len(copy)]] == [
        (row["question"], row["label"]) for row in copy
    ]


def test_the_layouts_of_truthful_qa_agree_on_the_true_answers():
    table, task = (converted(f"truthfulqa/{name}", TRUTHFUL_QA.layouts) for name in ("TruthfulQA.csv", "mc_task.json"))
    truths = [
        {row["question"]: next(text for text, label in row["options"] if label) for row in rows}
        for rows in (table, task)
    ]
    assert len(truths[0]) == len(truths[1]) == 790
    assert sum(truths[0][question] == truths[1].get(question) for question in truths[0]) > 780


def test_amazon_stars_are_flagged():
    assert load("amazon_polarity").stand_in


@pytest.mark.parametrize(
    ("name", "columns", "true_label"),
    [
        ("alignment_faking/gold_106.jsonl", ("text", "label"), "aligned"),
        ("alignment_faking/gold_106.json", ("text", "label"), "aligned"),
        ("repe/facts_true_false.csv", ("statement", "label"), None),
        ("deception/real_world_scenarios/all_unambiguous_replies.csv", ("statement", "label"), None),
    ],
)
def test_tables_of_others_load_as_own_data(name, columns, true_label):
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not in the folder of real data")
    dataset = load_file(DATA / name, text_column=columns[0], label_column=columns[1], true_label=true_label)
    assert len(dataset.statements) > 100
    json.dumps(audit(dataset).as_dict())
