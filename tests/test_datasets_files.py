"""Your own data: every encoding and label spelling loads, every mistake is one sentence with its fix."""

from __future__ import annotations

import json

import pytest

from probeshift.datasets import audit, load_file
from probeshift.errors import UsageError

ROWS = [(f"Statement number {i}.", i % 2) for i in range(40)]


def csv_text(rows=ROWS, *, end="\n", separator=",", header=("text", "label")) -> str:
    return end.join([separator.join(header), *(separator.join(str(cell) for cell in row) for row in rows)]) + end


def load(path, **options):
    return load_file(path, **{"text_column": "text", "label_column": "label", **options})


def pairs(dataset) -> set[tuple[str, bool]]:
    return {(row.text, row.label) for row in dataset.statements}


EXPECTED = {(text, bool(label)) for text, label in ROWS}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (csv_text().encode(), None),
        (csv_text(end="\r\n").encode(), None),
        (b"\xef\xbb\xbf" + csv_text().encode(), "utf-8-sig"),
        (csv_text().encode("utf-16"), "utf-16"),
        (csv_text(separator=";").encode(), None),
        (csv_text(separator="\t").encode(), None),
    ],
)
def test_encodings_line_ends_and_separators_give_the_same_rows(tmp_path, data, said):
    path = tmp_path / "mine.csv"
    path.write_bytes(data)
    dataset = load(path)
    assert pairs(dataset) == EXPECTED
    assert dataset.source == ("mine.csv" if said is None else f"mine.csv (read as {said})")


def test_text_that_is_not_utf8_is_read_as_cp1252_and_said_so(tmp_path):
    path = tmp_path / "old.csv"
    path.write_bytes("text,label\nCafé – open,1\nNaïve,0\n".encode("cp1252"))
    dataset = load(path)
    assert pairs(dataset) == {("Café – open", True), ("Naïve", False)}
    assert "cp1252" in dataset.source


def test_every_format_gives_the_same_dataset(tmp_path):
    import pyarrow
    from pyarrow import parquet

    rows = [{"text": text, "label": label} for text, label in ROWS]
    (tmp_path / "mine.csv").write_text(csv_text())
    (tmp_path / "mine.tsv").write_text(csv_text(separator="\t"))
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "mine.json").write_text(json.dumps({"version": 1, "samples": rows}))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "mine.parquet")
    found = [load(tmp_path / f"mine.{ending}") for ending in ("csv", "tsv", "jsonl", "json", "parquet")]
    assert len({dataset.content_hash for dataset in found}) == 1
    assert {dataset.name for dataset in found} == {"mine"}


@pytest.mark.parametrize(
    ("true", "false"),
    [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("yes", "no"), ("TRUE", "false"), (" true", "0"), ("Y", "N")],
)
def test_truth_values_are_read_in_all_spellings(tmp_path, true, false):
    path = tmp_path / "mine.csv"
    path.write_text(csv_text([(text, true if label else false) for text, label in ROWS]))
    assert pairs(load(path)) == EXPECTED


@pytest.mark.parametrize(("true", "false"), [(True, False), (1, 0), (1.0, 0.0), ("true", "false")])
def test_truth_values_are_read_in_all_json_types(tmp_path, true, false):
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps({"text": text, "label": true if label else false}) for text, label in ROWS))
    assert pairs(load(path)) == EXPECTED


def test_two_named_labels_load_once_one_is_named_true(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(csv_text([(text, "aligned" if label else "faking") for text, label in ROWS]))
    assert pairs(load(path, true_label="aligned")) == EXPECTED
    assert pairs(load(path, true_label="faking")) == {(text, not label) for text, label in EXPECTED}


def test_numbers_as_labels_may_be_named_too(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(csv_text([(text, label + 1) for text, label in ROWS]))
    assert pairs(load(path, true_label="2")) == EXPECTED


def test_a_group_column_makes_questions_that_are_never_split(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        csv_text([(f"Row {i}", i % 4 == 0, i // 4) for i in range(80)], header=("text", "label", "question"))
    )
    dataset = load(path, group_column="question")
    sides = {}
    for row in dataset.statements:
        sides.setdefault(row.group, set()).add(row.split)
    assert len(sides) == 20
    assert {len(found) for found in sides.values()} == {1}
    assert audit(dataset).options_per_question == {4: 20}


def test_a_split_column_is_followed(tmp_path):
    words = ("train", "dev", "test")
    path = tmp_path / "mine.csv"
    path.write_text(csv_text([(f"Row {i}", i % 2, words[i % 3]) for i in range(30)], header=("text", "label", "part")))
    dataset = load(path, split_column="part")
    assert [len(dataset.split(split)) for split in ("train", "selection", "test")] == [10, 10, 10]
    assert dataset.split_rule == "as column `part` says"


def test_a_split_column_without_test_rows_says_so(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(csv_text([(f"Row {i}", i % 2, "train") for i in range(30)], header=("text", "label", "part")))
    assert "no selection and no test rows" in load(path, split_column="part").split_rule


def test_equal_texts_leak_by_row_and_stay_together_by_entity(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(csv_text([(f"Row {i % 50}", i % 2) for i in range(300)]))
    by_row, by_text = audit(load(path)), audit(load(path, split_by="entity"))
    assert by_row.duplicate_statements == by_text.duplicate_statements == 250
    assert by_row.test_rows_in_train > 0
    assert by_row.entity_leak_whole_train.n_rows == by_row.test_rows_in_train
    assert by_text.test_rows_in_train == 0


def test_contradictions_are_counted_whole_and_across_the_split(tmp_path):
    path = tmp_path / "mine.csv"
    words = [
        ("Same.", 1, "train"),
        ("Same.", 0, "test"),
        ("Other.", 1, "train"),
        ("Other.", 1, "test"),
        ("Alone.", 0, "train"),
    ]
    path.write_text(csv_text(words, header=("text", "label", "part")))
    found = audit(load(path, split_column="part"))
    assert (found.duplicate_statements, found.contradictory_statements) == (2, 1)
    assert (found.test_rows_in_train, found.test_rows_contradicted_in_train) == (2, 1)


def test_the_name_is_that_of_the_file_made_safe(tmp_path):
    path = tmp_path / "my data (v2).csv"
    path.write_text(csv_text())
    assert load(path).name == "my_data_v2"
    assert load(path, name="chosen").name == "chosen"


def test_a_number_in_the_header_is_still_a_header(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(csv_text([(text, label, 7) for text, label in ROWS], header=("text", "label", "2024")))
    assert pairs(load(path)) == EXPECTED


def test_line_breaks_inside_quotes_and_commas_survive(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('text,label\n"One, two\nthree",1\n"Four ""five""",0\n')
    assert pairs(load(path)) == {("One, two\nthree", True), ('Four "five"', False)}


MISTAKES = {
    "empty": ("", {}, "mine.csv is empty"),
    "header only": ("text,label\n", {}, "mine.csv is empty"),
    "unknown text column": (csv_text(header=("statement", "label")), {}, "no column `text`"),
    "near text column": (csv_text(header=("texts", "label")), {}, "Nearest: `texts`. Name one with --text-column"),
    "unknown label column": (csv_text(header=("text", "truth")), {}, "Name one with --label-column"),
    "unknown group column": (csv_text(), {"group_column": "question"}, "Name one with --group-column"),
    "unknown split column": (csv_text(), {"split_column": "part"}, "Name one with --split-column"),
    "missing labels": (
        csv_text([("a", 1), ("b", ""), ("c", 0), ("d", "NaN")]),
        {},
        "no label in column `label` in 2 of 4 rows (rows 2, 4",
    ),
    "short rows": ("text,label\na,1\nb\nc,0\n", {}, "no label in column `label` in 1 of 3 rows (row 2"),
    "one class": (csv_text([("a", 1), ("b", 1)]), {}, "all 2 labels in column `label` of mine.csv are true"),
    "one name": (csv_text([("a", "x"), ("b", "x")]), {}, "are `x`: a dataset needs rows of two kinds"),
    "two names": (csv_text([("a", "faking"), ("b", "aligned")]), {}, "--true-label VALUE"),
    "two numbers": (csv_text([("a", 1), ("b", 2)]), {}, "--true-label VALUE"),
    "three names": (csv_text([("a", "x"), ("b", "y"), ("c", "z")]), {}, "3 different labels (`x`, `y`, `z`)"),
    "three names, one true": (
        csv_text([("a", "x"), ("b", "y"), ("c", "z")]),
        {"true_label": "x"},
        "3 different labels",
    ),
    "wrong true label": (csv_text([("a", "aligned"), ("b", "faking")]), {"true_label": "alined"}, "Nearest: `aligned`"),
    "empty texts": (csv_text([("a", 1), ("  ", 0), ("", 1)]), {}, "no text in column `text` in 2 of 3 rows (rows 2, 3"),
    "missing groups": (
        "text,label,q\na,1,1\nb,0,\n",
        {"group_column": "q"},
        "no value in column `q` in 1 of 2 rows (row 2",
    ),
    "separator in a text": (
        'label,text\n1,"Rome, Italy"\n0,Paris, in Spain\n',
        {},
        "line 3 has 3 cells, its header 2: put double quotes around",
    ),
    "separator below a blank line": ("\ntext,label\na,1\nb, c,0\n", {}, "line 4 has 3 cells, its header 2"),
    "quote that never ends": ('label,text\n1,"a\n0,b\n', {}, "line 2 is not valid csv"),
    "quotes inside quotes": ('label,text\n1,a\n0,"say "b" twice"\n', {}, "line 3 is not valid csv"),
    "two columns of one name": ("text,label,label\na,1,0\nb,0,1\n", {}, "2 columns called `label`"),
    "unknown split word": (
        "text,label,part\na,1,train\nb,0,held\n",
        {"split_column": "part"},
        "holds `held`: a split is one of train",
    ),
    "question on two sides": (
        "text,label,q,part\na,1,9,train\nb,0,9,test\n",
        {"group_column": "q", "split_column": "part"},
        "group `9` has rows in test and train",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_that_says_what_to_change(tmp_path, mistake):
    text, options, said = MISTAKES[mistake]
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(path, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_cells_behind_the_last_column_are_no_mistake(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,label\na,1,\nb,0,,\n")
    assert pairs(load(path)) == {("a", True), ("b", False)}


@pytest.mark.parametrize("true_label", ["true", "True", "TRUE"])
def test_the_case_of_a_true_label_matters_only_where_it_tells_labels_apart(tmp_path, true_label):
    path = tmp_path / "mine.csv"
    path.write_text("text,label\na,True\nb,False\n")
    assert pairs(load(path, true_label=true_label)) == {("a", True), ("b", False)}
    path.write_text("text,label\na,x\nb,X\n")
    assert pairs(load(path, true_label="X")) == {("a", False), ("b", True)}


def test_a_folder_in_place_of_a_table_is_called_one(tmp_path):
    with pytest.raises(UsageError, match="is a folder: name one table in it"):
        load(tmp_path)


def test_float_nan_labels_are_missing_labels(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "mine.parquet"
    parquet.write_table(pyarrow.table({"text": ["a", "b", "c"], "label": [1.0, float("nan"), 0.0]}), path)
    with pytest.raises(UsageError, match=r"no label in column `label` in 1 of 3 rows \(row 2"):
        load(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("mine.parquet", "not parquet", "cannot be read as parquet"),
        ("mine.jsonl", '{"text": "a"}\n{oops\n', "line 2 is not JSON"),
        ("mine.jsonl", "[1, 2]\n", "no list of objects"),
        ("mine.json", '"words"', "no list of objects"),
        ("mine.jsonl", '{"text": {"a": 1}, "label": 1}\n', "holds objects, not text"),
        ("mine.xlsx", "cells", "no known format"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=said):
        load(tmp_path / name)


def test_a_file_that_is_not_there_is_named_with_its_neighbour(tmp_path):
    (tmp_path / "mine.csv").write_text(csv_text())
    with pytest.raises(UsageError, match=r"Nearest: `mine\.csv`"):
        load(tmp_path / "mien.csv")
