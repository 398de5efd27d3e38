"""Concept data in the layouts people have."""

import json

import pandas as pd
import pytest

from probeshift.datasets.concepts import PARTS, load_axbench, load_caa, load_concept_table
from probeshift.errors import MissingError, UsageError
from probeshift.experiments.transfer.study import check_rows, rule_concepts


def row(said, concept, category, number, genre="text"):
    names = ("input", "output", "output_concept", "category", "concept_id", "concept_genre")
    return dict(zip(names, (f"asked {said}", said, concept, category, number, genre), strict=True))


@pytest.fixture
def axbench(tmp_path):
    train = [row(f"n{i}", "EEEEE", "negative", -1, genre) for i, genre in enumerate(("text", "text", "code"))]
    train += [row(f"p{i}", "tea", "positive", 0) for i in range(3)] + [row("q", "loops", "positive", 1, "code")]
    latent = [row(f"d{i}", "tea", kind, 0) for i, kind in enumerate(("positive", "negative", "hard negative"))]
    latent += [row(f"e{i}", "loops", kind, 1) for i, kind in enumerate(("positive", "negative"))]
    for name, rows in (("generate/train_data", train), ("inference/latent_eval_data", latent)):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(parents=True)
        pd.DataFrame(rows).to_parquet(path)
    return tmp_path


def said(data, part, concept, positive):
    return [r.response for r in data.of(part, [concept]) if r.positive == positive]


def test_axbench_negatives_are_those_of_the_concepts_genre_and_hard_ones_are_left_out(axbench):
    data = load_axbench(axbench)
    assert [c.told for c in data.concepts] == ["tea", "loops"]
    assert said(data, "vector", "axbench-0", True) == ["p0", "p1", "p2"]
    assert said(data, "vector", "axbench-0", False) == ["n0", "n1"]
    assert said(data, "vector", "axbench-1", False) == ["n2"]
    assert (said(data, "detection", "axbench-0", True), said(data, "detection", "axbench-0", False)) == (["d0"], ["d1"])
    check_rows(data)


def test_a_folder_that_is_no_partition_is_told(tmp_path):
    with pytest.raises(MissingError, match=r"train_data.parquet is missing"):
        load_axbench(tmp_path)


def test_a_column_that_is_not_there_is_told_with_the_nearest(axbench):
    path = axbench / "generate/train_data.parquet"
    pd.read_parquet(path).rename(columns={"category": "categories"}).to_parquet(path)
    with pytest.raises(UsageError, match=r"no column `category`\. Nearest: `categories`"):
        load_axbench(axbench)


def caa_file(path, questions):
    path.parent.mkdir(parents=True)
    keys = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
    path.write_text(json.dumps([dict(zip(keys, (q, " (A)", " (B)"), strict=True)) for q in questions]))


def test_caa_pairs_keep_both_answers_of_a_question_together(tmp_path):
    caa_file(tmp_path / "generate/refusal/generate_dataset.json", [f"q{i}" for i in range(40)])
    data = load_caa(tmp_path)
    parts = {part: {r.prompt for r in data.of(part)} for part in PARTS}
    assert all(parts.values()) and not parts["vector"] & parts["detection"]
    assert said(data, "vector", "refusal", True) == ["(A)"] * len(parts["vector"])
    assert len(data.rows) == 80


def test_caa_test_questions_are_for_detection_unless_they_also_make_the_vector(tmp_path):
    caa_file(tmp_path / "generate/refusal/generate_dataset.json", ["q0", "q1"])
    caa_file(tmp_path / "test/refusal/test_dataset_ab.json", ["q1", "q2"])
    data = load_caa(tmp_path)
    assert {r.prompt for r in data.of("vector")} == {"q0", "q1"}
    assert {r.prompt for r in data.of("detection")} == {"q2"}


def own_table(tmp_path, rows, columns="concept,prompt,response,positive"):
    path = tmp_path / "own.csv"
    path.write_text("\n".join([columns, *rows]))
    return path


def test_an_own_table_is_split_by_prompt_or_as_it_says(tmp_path):
    data = load_concept_table(own_table(tmp_path, [f"tea,p{i},{k},{k}" for i in range(40) for k in (0, 1)]))
    parts = {part: {r.prompt for r in data.of(part)} for part in PARTS}
    assert all(parts.values()) and not parts["vector"] & parts["detection"]
    path = own_table(tmp_path, ["tea,a,x,yes,vector", "tea,a,y,no,detection"], "concept,prompt,response,positive,part")
    assert [(r.positive, r.part) for r in load_concept_table(path).rows] == [(True, "vector"), (False, "detection")]


@pytest.mark.parametrize(
    ("rows", "message"), [(["tea,a,x,maybe"], "`positive` is `maybe`"), (["tea,a,x,1", "tea,b,y,1"], "has no")]
)
def test_an_own_table_that_cannot_be_is_told(tmp_path, rows, message):
    with pytest.raises(UsageError, match=message):
        check_rows(load_concept_table(own_table(tmp_path, rows)))


def test_rules_have_both_kinds_in_both_parts_and_no_row_in_two():
    data = rule_concepts(["uppercase", "language"])
    check_rows(data)
    assert {r.part for r in data.rows} == set(PARTS)
