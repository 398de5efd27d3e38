"""Every published layout is recognised by its fields and gives the same records. All files are written by the tests."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import pytest

from probeshift.datasets import DATASETS, audit, load_dataset
from probeshift.datasets.dlk import two_options
from probeshift.datasets.dlk_layouts import DBPEDIA_CLASSES, plain_review
from probeshift.datasets.folder import source_of
from probeshift.errors import MissingError, UsageError

N = 12


def write_json_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_csv(path: Path, rows: list[list], *, quoting: int = csv.QUOTE_ALL, end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=quoting, lineterminator=end).writerows(rows)


def write_parquet(path: Path, rows: list[dict]) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_arrow_stream(path: Path, rows: list[dict]) -> None:
    import pyarrow

    table = pyarrow.Table.from_pylist(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def true_endings(dataset) -> dict[str, str]:
    """For each question its true text, by the last word of the question's own number."""
    return {row.group: row.text for row in dataset.statements if row.label}


# One writer for each layout: (dataset, layout, what it writes into a folder).


def acl_imdb(root: Path) -> None:
    for split in ("train", "test"):
        for kind in ("pos", "neg"):
            for i in range(N // 2):
                write_text(
                    root / f"aclImdb/{split}/{kind}/{i}_{9 if kind == 'pos' else 2}.txt",
                    f"{kind} film<br /><br />no. {i}",
                )
    write_text(root / "aclImdb/train/urls_pos.txt", "an address list")
    write_text(root / "aclImdb/README", "read me")


def imdb_table(root: Path) -> None:
    write_csv(
        root / "imdb_sample/texts.csv",
        [["label", "text", "is_valid"], *(["positive" if i % 2 else "negative", f"film {i}", False] for i in range(N))],
    )


def imdb_bytes(root: Path) -> None:
    write_csv(
        root / "imdb_bytes.csv", [["text", "label"], *([repr(f"it's film {i}<br/>".encode()), i % 2] for i in range(N))]
    )


def kaggle_imdb(root: Path) -> None:
    write_csv(
        root / "IMDB Dataset.csv",
        [["review", "sentiment"], *([f"film {i}", "positive" if i % 2 else "negative"] for i in range(N))],
    )


def imdb_other_names(root: Path) -> None:
    rows = [[i, f"a film {i}, rather good", i % 2] for i in range(N)]
    write_csv(root / "imdb/reviews.csv", [["id", "Review_Text", "Polarity"], *rows])


def zhang(name: str, n_classes: int, splits: tuple[str, ...] = ("train", "test")):
    def write(root: Path) -> None:
        for split in splits:
            write_csv(
                root / name / f"{split}.csv",
                [[str(i % n_classes + 1), f"title {i}", f'body "{i}", more'] for i in range(N)],
            )

    return write


def bare_dbpedia(root: Path) -> None:
    path = root / "dbpedia_csv/test.csv"
    path.parent.mkdir()
    path.write_bytes("".join(f"{i % 14 + 1},Title {i}, body {i} without quotes\r\n" for i in range(N)).encode())


def renumbered_dbpedia(root: Path) -> None:
    names = sorted(DBPEDIA_CLASSES)
    write_text(root / "dbpedia/meta.txt", "".join(f"{i}: {name}\n" for i, name in enumerate(names, 1)) + "#train: 5")
    write_csv(root / "dbpedia/test.csv", [[str(i % 14 + 1), f"body {names[i % 14]} {i}"] for i in range(N)])


def five_stars(root: Path) -> None:
    header = ["id", "text", "label", "label_text", "idx"]
    write_csv(
        root / "amazon/test.csv", [header, *([f"en_{i}", f"title\n\nbody {i}", i % 5, i % 5, i] for i in range(N))]
    )


def rows_to(path: str, rows, splits=("train", "validation")):
    """A writer of jsonl files, one for each split, for rows made from their number."""

    def write(root: Path) -> None:
        for split in splits:
            write_json_lines(root / path.format(split=split), [rows(i) for i in range(N)])

    return write


def hub_parquet(path: str, rows, splits=("train", "validation")):
    def write(root: Path) -> None:
        for split in splits:
            half = N // 2
            for shard in (0, 1):
                made = [rows(i) for i in range(shard * half, shard * half + half)]
                write_parquet(root / path / f"{split}-0000{shard}-of-00002.parquet", made)

    return write


def saved_to_disk(path: str, rows, splits=("train", "validation")):
    def write(root: Path) -> None:
        for split in splits:
            folder = root / path / split
            write_arrow_stream(folder / "data-00000-of-00001.arrow", [rows(i) for i in range(N)])
            write_text(folder / "state.json", "{}")

    return write


def copa_xml(root: Path) -> None:
    opening = '<item id="{i}" asks-for="{asks}" most-plausible-alternative="{gold}">'
    item = opening + "<p>Premise {i}.</p><a1>One.</a1><a2>Two.</a2></item>"
    for split in ("dev", "test"):
        items = "".join(item.format(i=i, asks="cause" if i % 3 else "effect", gold=i % 2 + 1) for i in range(N))
        write_text(
            root / f"copa-{split}.xml",
            f'<?xml version="1.0" encoding="UTF-8"?><copa-corpus version="1.0">{items}</copa-corpus>',
        )


def piqa_lst(root: Path) -> None:
    for split in ("train", "valid"):
        write_json_lines(
            root / f"piqa/{split}.jsonl", [{"goal": f"goal {i}", "sol1": "a", "sol2": "b"} for i in range(N)]
        )
        write_text(root / f"piqa/{split}-labels.lst", "".join(f"{i % 2}\n" for i in range(N)))


def piqa_instruction(root: Path) -> None:
    text = (
        "Pick the better solution to the question: goal {i}?\n\nSolution1: a Solution2: b\n\nAnswer format: solution1"
    )
    rows = [{"instruction": text.format(i=i), "input": "", "answer": f"solution{i % 2 + 1}"} for i in range(N)]
    write_text(root / "piqa_test.json", json.dumps(rows))


def nested(i: int) -> dict:
    letters = "ABCD" if i % 2 else "1234"
    choices = [{"text": f"option {j}", "label": letters[j]} for j in range(4)]
    return {"id": f"q{i}", "question": {"stem": f"stem {i}", "choices": choices}, "answerKey": letters[i % 4]}


def flat(i: int, field: str = "question") -> dict:
    choices = {"text": [f"option {j}" for j in range(4)], "label": list("ABCD")}
    return {"id": f"q{i}", field: f"stem {i}", "choices": choices, "answerKey": "ABCD"[i % 4]}


def query(i: int) -> dict:
    return {"query": f"Question: stem {i}", "choices": [f"option {j}" for j in range(4)], "gold": i % 4}


def lettered_query(i: int) -> dict:
    options = "\n".join(f"{'ABCD'[j]}. option {j}" for j in range(4))
    return {"query": f"Question: stem {i}\nChoices:\n{options}\nAnswer:", "choices": list("ABCD"), "gold": i % 4}


def instruction(i: int) -> dict:
    options = " ".join(f"Answer{j + 1}: option {j}" for j in range(4))
    text = f"Please pick the answer to the question: stem {i}\n\n{options}\n\nAnswer format: answer1/answer2"
    return {
        "instruction": text,
        "input": "",
        "output": f"the correct answer is answer{i % 4 + 1}",
        "answer": f"answer{i % 4 + 1}",
    }


def instruction_json(name: str):
    def write(root: Path) -> None:
        for split in ("train", "test"):
            write_text(root / f"{name}_{split}.json", json.dumps([instruction(i) for i in range(N)], indent=2))

    return write


def race_files(root: Path) -> None:
    for split in ("train", "dev", "test"):
        for level in ("middle", "high"):
            for i in range(1, N // 2):
                article = {
                    "article": f"Article {i}.",
                    "questions": ["Who?", "Where?"],
                    "options": [list("wxyz")] * 2,
                    "answers": ["A", "D"],
                }
                write_text(root / f"RACE/{split}/{level}/{i}.txt", json.dumps({**article, "id": f"{level}{i}.txt"}))


def race_row(i: int) -> dict:
    return {
        "example_id": f"high{i // 2}.txt",
        "article": "Text.",
        "question": f"stem {i}",
        "options": list("wxyz"),
        "answer": "ABCD"[i % 4],
    }


LAYOUTS = {
    "imdb, folders": ("imdb", acl_imdb),
    "imdb, table": ("imdb", imdb_table),
    "imdb, bytes as text": ("imdb", imdb_bytes),
    "imdb, review and sentiment": ("imdb", kaggle_imdb),
    "imdb, other names": ("imdb", imdb_other_names),
    "imdb, hub": ("imdb", hub_parquet("imdb", lambda i: {"text": f"film {i}", "label": i % 2}, ("train", "test"))),
    "amazon, official": ("amazon_polarity", zhang("amazon_review_polarity_csv", 2)),
    "amazon, hub": (
        "amazon_polarity",
        hub_parquet("amazon", lambda i: {"label": i % 2, "title": "t", "content": f"c {i}"}, ("train", "test")),
    ),
    "amazon, stars": ("amazon_polarity", five_stars),
    "ag_news, official": ("ag_news", zhang("ag_news_csv", 4)),
    "ag_news, test alone": ("ag_news", zhang("ag_news_csv", 4, ("test",))),
    "ag_news, saved": (
        "ag_news",
        saved_to_disk("ag_news", lambda i: {"text": f"item {i}", "label": i % 4}, ("train", "test")),
    ),
    "dbpedia, official": ("dbpedia_14", zhang("dbpedia_csv", 14)),
    "dbpedia, no quotes": ("dbpedia_14", bare_dbpedia),
    "dbpedia, renumbered": ("dbpedia_14", renumbered_dbpedia),
    "dbpedia, hub": (
        "dbpedia_14",
        hub_parquet("dbpedia_14", lambda i: {"label": i, "title": "t", "content": f" c {i}"}, ("train", "test")),
    ),
    "rte, SuperGLUE": (
        "rte",
        rows_to(
            "RTE/{split}.jsonl",
            lambda i: {
                "premise": f"p {i}",
                "hypothesis": "h",
                "label": "entailment" if i % 2 else "not_entailment",
                "idx": i,
            },
        ),
    ),
    "rte, hub": (
        "rte",
        hub_parquet("super_glue/rte", lambda i: {"premise": f"p {i}", "hypothesis": "h", "idx": i, "label": i % 2}),
    ),
    "copa, xml": ("copa", copa_xml),
    "copa, SuperGLUE": (
        "copa",
        rows_to(
            "COPA/{split}.jsonl",
            lambda i: {
                "premise": f"p {i}.",
                "choice1": "a",
                "choice2": "b",
                "question": "cause",
                "label": i % 2,
                "idx": i,
            },
        ),
    ),
    "copa, completion": (
        "copa",
        rows_to(
            "copa.jsonl", lambda i: {"query": f"It rained {i}, because", "choices": ["a", "b"], "gold": i % 2}, ("",)
        ),
    ),
    "boolq, original": (
        "boolq",
        rows_to(
            "boolq_{split}.jsonl",
            lambda i: {"question": f"q {i}", "title": "t", "answer": i % 2 == 0, "passage": "p"},
            ("dev",),
        ),
    ),
    "boolq, SuperGLUE": (
        "boolq",
        rows_to("BoolQ/{split}.jsonl", lambda i: {"question": f"q {i}", "passage": "p", "idx": i, "label": i % 2 == 0}),
    ),
    "boolq, completion": (
        "boolq",
        rows_to(
            "boolq.jsonl",
            lambda i: {"query": f"Passage: p {i}\nQuestion: q?", "choices": ["no", "yes"], "gold": i % 2},
            ("",),
        ),
    ),
    "piqa, labels beside": ("piqa", piqa_lst),
    "piqa, hub": ("piqa", hub_parquet("piqa", lambda i: {"goal": f"g {i}", "sol1": "a", "sol2": "b", "label": i % 2})),
    "piqa, completion": (
        "piqa",
        rows_to("piqa.jsonl", lambda i: {"query": f"g {i}", "choices": ["a", "b"], "gold": i % 2}, ("",)),
    ),
    "piqa, instruction": ("piqa", piqa_instruction),
    "open_book_qa, original": ("open_book_qa", rows_to("OpenBookQA/Main/{split}.jsonl", nested)),
    "open_book_qa, hub": ("open_book_qa", hub_parquet("openbookqa/main", lambda i: flat(i, "question_stem"))),
    "open_book_qa, instruction": ("open_book_qa", instruction_json("openbookqa")),
    "common_sense_qa, original": (
        "common_sense_qa",
        rows_to("csqa_{split}_rand_split.jsonl", nested, ("train", "dev")),
    ),
    "common_sense_qa, letters": ("common_sense_qa", rows_to("commonsense_qa.jsonl", lettered_query, ("",))),
    "race, files": ("race", race_files),
    "race, hub": ("race", hub_parquet("race/all", race_row)),
    "arc_easy, original": ("arc_easy", rows_to("ARC-Easy/ARC-Easy-{split}.jsonl", nested, ("Train", "Dev"))),
    "arc_easy, completion": ("arc_easy", rows_to("arc_easy.jsonl", query, ("",))),
    "arc_challenge, saved": ("arc_challenge", saved_to_disk("ai2_arc/ARC-Challenge", flat)),
    "arc_challenge, instruction": ("arc_challenge", instruction_json("ARC-Challenge")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_loads_with_one_true_answer_for_each_question(tmp_path, layout):
    name, write = LAYOUTS[layout]
    write(tmp_path)
    dataset = load_dataset(name, data_dir=tmp_path)
    options = defaultdict(list)
    for row in dataset.statements:
        options[row.group].append(row.label)
    assert options
    assert all(sum(found) == 1 for found in options.values())
    assert len({row.row_id for row in dataset.statements}) == len(dataset.statements)
    assert sum(dataset.dropped.values()) == 0 or dataset.stand_in


@pytest.mark.parametrize(
    "layout",
    [
        layout
        for layout in LAYOUTS
        if LAYOUTS[layout][0] in ("open_book_qa", "arc_easy", "arc_challenge", "common_sense_qa")
    ],
)
def test_the_right_option_is_found_however_it_is_keyed(tmp_path, layout):
    name, write = LAYOUTS[layout]
    write(tmp_path)
    for row in load_dataset(name, data_dir=tmp_path).statements:
        number = int(row.text.split("stem ")[1].split()[0])
        assert row.label is (f"option {number % 4}" in row.text)


@pytest.mark.parametrize("name", [spec.name for spec in DATASETS if spec.family in ("repe", "truthfulqa")])
def test_stems_end_in_the_same_word(tmp_path, name):
    write_truthful_qa(tmp_path)
    for _, write in (entry for entry in LAYOUTS.values() if entry[0] == name):
        write(tmp_path)
    endings = {row.text.split("\n")[-1] for row in load_dataset(name, data_dir=tmp_path).statements}
    assert len(endings) == 1
    assert endings.pop().endswith(" is")


def test_the_two_options_hold_the_right_label_and_one_wrong_one_in_index_order():
    for gold in range(4):
        for index in range(12):
            first, second = two_options(gold, index, 4)
            assert first < second
            assert gold in (first, second)
    assert [two_options(1, index, 4) for index in range(4)] == [(0, 1), (1, 2), (1, 3), (0, 1)]
    assert {two_options(1, index, 2) for index in range(9)} == {(0, 1)}


def test_two_answer_rows_end_in_their_candidate_and_name_its_place(tmp_path):
    zhang("ag_news_csv", 4)(tmp_path)
    rows = load_dataset("ag_news", data_dir=tmp_path).statements
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        offered = [line.split(": ", 1)[1] for line in first.text.split("\n") if line.startswith("Choice ")]
        assert (first.answer_type, second.answer_type) == ("0", "1")
        assert first.text.endswith(offered[0])
        assert second.text.endswith(offered[1])


def test_hub_and_original_files_of_the_same_rows_give_the_same_dataset(tmp_path):
    rows = [{"premise": f"p {i}", "hypothesis": "h", "idx": i, "label": i % 2} for i in range(N)]
    write_parquet(tmp_path / "a/rte/train.parquet", rows)
    write_parquet(tmp_path / "a/rte/validation.parquet", rows)
    words = [{**row, "label": ("entailment", "not_entailment")[row["label"]]} for row in rows]
    write_json_lines(tmp_path / "b/RTE/train.jsonl", words)
    write_json_lines(tmp_path / "b/RTE/val.jsonl", words)
    write_arrow_stream(tmp_path / "c/rte/train/data-00000-of-00001.arrow", rows)
    write_arrow_stream(tmp_path / "c/rte/validation/data-00000-of-00001.arrow", rows)
    hashes = {load_dataset("rte", data_dir=tmp_path / folder).content_hash for folder in "abc"}
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("RACE/dev/high/12.txt", "validation"),
        ("csqa_train_rand_split.jsonl", "train"),
        ("openbookqa_test.jsonl", "test"),
        ("rte/train-00000-of-00001.parquet", "train"),
        ("ag_news/validation/data-00000-of-00001.arrow", "validation"),
        ("testing/boolq.jsonl", "test"),
        ("boolq_contest.jsonl", "all"),
        ("ARC-Easy-Dev.jsonl", "validation"),
    ],
)
def test_the_source_split_is_read_from_whole_words_of_the_path(path, source):
    assert source_of(Path(path)) == source


def test_race_questions_of_one_article_stay_apart_and_share_their_entity(tmp_path):
    race_files(tmp_path)
    dataset = load_dataset("race", data_dir=tmp_path)
    assert len({row.group for row in dataset.statements}) * 4 == len(dataset.statements)
    by_article = defaultdict(set)
    for row in dataset.statements:
        by_article[row.entity, row.group.split("/")[0]].add(row.group)
    assert {len(groups) for groups in by_article.values()} == {2}


def test_race_articles_stay_on_one_side_when_split_by_entity(tmp_path):
    race_files(tmp_path)
    sides = defaultdict(set)
    for row in load_dataset("race", data_dir=tmp_path, split_by="entity").statements:
        sides[row.entity].add((row.group.split("/")[0], row.split))
    assert all(len(found) == 2 for found in sides.values())  # train or selection once, and test from the dev articles


def test_a_folder_that_holds_a_set_twice_is_read_once(tmp_path):
    rows_to(
        "boolq_{split}.jsonl",
        lambda i: {"question": f"q {i}", "title": "t", "answer": i % 2 == 0, "passage": "p"},
        ("dev",),
    )(tmp_path)
    rows_to(
        "boolq_icl.jsonl",
        lambda i: {"query": "Passage: p\nQuestion: q?", "choices": ["no", "yes"], "gold": i % 2},
        ("",),
    )(tmp_path)
    dataset = load_dataset("boolq", data_dir=tmp_path)
    assert dataset.source == "boolq_dev.jsonl"
    assert len(dataset.statements) == 2 * N


def test_a_folder_named_after_the_set_needs_no_words_in_the_file_names(tmp_path):
    rows_to("BoolQ/{split}.jsonl", lambda i: {"question": f"q {i}", "passage": "p", "label": i % 2 == 0})(tmp_path)
    assert len(load_dataset("boolq", data_dir=tmp_path / "BoolQ").statements) == 4 * N


def test_hidden_labels_are_left_out_and_counted(tmp_path):
    hub_parquet("rte", lambda i: {"premise": f"p {i}", "hypothesis": "h", "label": -1 if i == 3 else i % 2})(tmp_path)
    assert load_dataset("rte", data_dir=tmp_path).dropped == {"rows without a usable answer": 2}


def test_files_with_hidden_labels_only_are_refused(tmp_path):
    write_json_lines(tmp_path / "rte/test.jsonl", [{"premise": "p", "hypothesis": "h", "label": -1}])
    with pytest.raises(UsageError, match="no row with a usable answer"):
        load_dataset("rte", data_dir=tmp_path)


def test_a_source_split_with_one_right_answer_throughout_is_left_out_and_named(tmp_path):
    write_csv(tmp_path / "ag_news/train.csv", [["1", "t", f"b {i}"] for i in range(N)])
    write_csv(tmp_path / "ag_news/test.csv", [[str(i % 4 + 1), "t", f"b {i}"] for i in range(N)])
    dataset = load_dataset("ag_news", data_dir=tmp_path)
    assert "source split train left out" in dataset.split_rule
    assert dataset.source == "ag_news/test.csv"


def test_five_star_reviews_are_flagged_as_a_stand_in(tmp_path):
    five_stars(tmp_path)
    dataset = load_dataset("amazon_polarity", data_dir=tmp_path)
    assert "stand in" in dataset.stand_in
    assert not any("title" in row.text for row in dataset.statements)


def test_the_renumbered_classes_are_read_from_the_list_beside_the_table(tmp_path):
    renumbered_dbpedia(tmp_path)
    for row in load_dataset("dbpedia_14", data_dir=tmp_path).statements:
        named = row.text.split('"body ')[1].split()[0]
        assert row.label is row.text.endswith(named)


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("One.<br /><br />Two.", "One. Two."),
        ("One.<BR>Two.< br/>", "One. Two."),
        ("b'It\\'s caf\\xc3\\xa9.<br />Two'", "It's café. Two"),
        ('b"it is"', "it is"),
        ("b'ad start, no end", "b'ad start, no end"),
    ],
)
def test_reviews_lose_html_breaks_and_bytes_literals(raw, plain):
    assert plain_review(raw) == plain


# TruthfulQA


def truthful_rows() -> list[dict]:
    return [
        {"question": f"question {i}?", "best": f"truth {i}", "wrong": [f"myth {j} of {i}" for j in range(i % 4 + 1)]}
        for i in range(N)
    ]


def write_truthful_qa(root: Path) -> None:
    rows = [
        {
            "question": row["question"],
            "mc1_targets": {"choices": [row["best"], *row["wrong"]], "labels": [1] + [0] * len(row["wrong"])},
        }
        for row in truthful_rows()
    ]
    write_parquet(root / "truthful_qa/multiple_choice/validation-00000-of-00001.parquet", rows)


def write_mc_task(root: Path) -> None:
    rows = [
        {"question": row["question"], "mc1_targets": {row["best"]: 1, **dict.fromkeys(row["wrong"], 0)}}
        for row in truthful_rows()
    ]
    write_text(root / "truthfulqa/mc_task.json", json.dumps(rows))


def write_truthful_csv(root: Path) -> None:
    path = root / "TruthfulQA.csv"
    table = [["Type", "Question", "Best Answer", "Incorrect Answers"]]
    table += [["x", row["question"], row["best"], "; ".join(row["wrong"])] for row in truthful_rows()]
    write_csv(path, table)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


@pytest.mark.parametrize("write", [write_truthful_qa, write_mc_task, write_truthful_csv])
def test_truthful_qa_is_for_evaluation_only_and_hides_the_true_option(tmp_path, write):
    write(tmp_path)
    dataset = load_dataset("truthful_qa", data_dir=tmp_path)
    assert dataset.split("train") == ()
    assert {row.text.split("\n")[2].startswith("Answer: truth") for row in dataset.statements if row.label} == {True}
    first = {row.group: row.label for row in reversed(dataset.statements)}
    assert 0 < sum(first.values()) < len(first)  # the true option is neither always first nor never


def test_truthful_qa_layouts_agree(tmp_path):
    texts = []
    for i, write in enumerate((write_truthful_qa, write_mc_task, write_truthful_csv)):
        write(tmp_path / str(i))
        rows = load_dataset("truthful_qa", data_dir=tmp_path / str(i)).statements
        texts.append([(row.text, row.label, row.split) for row in rows])
    assert texts[0] == texts[1] == texts[2]


# Geometry of truth


def write_got(root: Path) -> None:
    cities = [["statement", "label", "city", "country", "correct_country"]]
    negated = [cities[0]]
    for i in range(N):
        for label in (1, 0):
            cities.append([f"Town {i} lies in {label}.", label, f"Town {i}", label, 1])
            negated.append([f"Town {i} does not lie in {label}.", 1 - label, f"Town {i}", label, 1])
    write_csv(root / "cities.csv", cities)
    write_csv(root / "neg_cities.csv", negated)


def test_got_files_pair_row_by_row_with_opposite_labels(tmp_path):
    write_got(tmp_path / "deep/er")
    dataset = load_dataset("got_cities", data_dir=tmp_path)
    assert dataset.source == "deep/er/cities.csv + deep/er/neg_cities.csv"
    assert [row.answer_type for row in dataset.statements[:2]] == ["pos", "neg"]
    assert audit(dataset).options_per_question == {2: 2 * N}
    assert audit(dataset).one_label_questions == 0


def test_got_files_of_different_length_are_refused(tmp_path):
    write_got(tmp_path)
    lines = (tmp_path / "neg_cities.csv").read_text().splitlines()
    (tmp_path / "neg_cities.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(UsageError, match="do not pair row by row: they have 24 and 23 rows"):
        load_dataset("got_cities", data_dir=tmp_path)


def test_a_file_of_the_right_name_with_other_columns_is_not_taken(tmp_path):
    write_csv(tmp_path / "cities.csv", [["statement", "label"], ["a", 1]])
    with pytest.raises(MissingError):
        load_dataset("got_cities", data_dir=tmp_path, source="local")


# What is missing


@pytest.mark.parametrize("name", [spec.name for spec in DATASETS if spec.family != "facts"])
def test_a_missing_dataset_names_what_was_looked_for_and_how_to_get_it(tmp_path, name):
    with pytest.raises(MissingError) as caught:
        load_dataset(name, data_dir=tmp_path, source="local")
    spec = next(spec for spec in DATASETS if spec.name == name)
    assert spec.files in str(caught.value)
    assert (spec.hub_id or "geometry-of-truth") in str(caught.value)
    assert "--data-dir" in str(caught.value)


def test_an_unknown_dataset_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="`got_cities`"):
        load_dataset("got_citties")


def test_a_data_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(MissingError, match="--data-dir"):
        load_dataset("boolq", data_dir=tmp_path / "absent")


def test_the_data_folder_may_come_from_the_environment(tmp_path, monkeypatch):
    write_got(tmp_path)
    monkeypatch.setenv("PROBESHIFT_DATA", str(tmp_path))
    assert len(load_dataset("got_cities").statements) == 4 * N


def test_a_missing_dataset_names_files_that_were_not_recognised(tmp_path):
    write_json_lines(tmp_path / "boolq/train.jsonl", [{"instruction": "true or false?", "answer": "true"}])
    with pytest.raises(MissingError, match=r"boolq/train\.jsonl in no layout known for it"):
        load_dataset("boolq", data_dir=tmp_path, source="local")


def test_a_tab_separated_table_may_hold_unpaired_quotes(tmp_path):
    lines = ["index\tsentence1\tsentence2\tlabel"]
    lines += [f'{i}\t"An open quote {i}\tA "word".\t{("entailment", "not_entailment")[i % 2]}' for i in range(N)]
    write_text(tmp_path / "RTE/train.tsv", "\n".join(lines))
    write_text(tmp_path / "RTE/dev.tsv", "\n".join(lines))
    rows = load_dataset("rte", data_dir=tmp_path).statements
    assert len(rows) == 4 * N
    assert all(row.text.startswith('"An open quote') for row in rows)


def test_a_damaged_file_is_passed_over_with_a_warning(tmp_path, caplog):
    write_text(tmp_path / "rte/train.parquet", "not parquet")
    with pytest.raises(MissingError):
        load_dataset("rte", data_dir=tmp_path, source="local")
    assert "cannot be read as parquet" in caplog.text


def test_the_hub_without_its_library_or_a_connection_is_one_clear_sentence(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with pytest.raises(MissingError, match="PROBESHIFT_DATA"):
        load_dataset("piqa", source="hub")
