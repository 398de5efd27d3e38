"""The shapes the two-answer sets are published in, each converted to the hub's field names with an integer `label`."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from probeshift.datasets.questions import Layout, Row, has
from probeshift.datasets.reading import read_rows

DBPEDIA_CLASSES = (
    "Company", "EducationalInstitution", "Artist", "Athlete", "OfficeHolder", "MeanOfTransportation", "Building",
    "NaturalPlace", "Village", "Animal", "Plant", "Album", "Film", "WrittenWork",
)  # fmt: skip

_BREAK = re.compile(r"(\s*<\s*/?\s*br\s*/?\s*>)+\s*", re.IGNORECASE)
_WORDS = {
    "neg": 0, "negative": 0, "pos": 1, "positive": 1, "entailment": 0, "not_entailment": 1,
    "false": 0, "true": 1, "no": 0, "yes": 1,
}  # fmt: skip


def integer(value: Any, n_labels: int, *, first: int = 0) -> int | None:
    """A label as an index from 0; None for hidden (-1), missing or unknown ones. `first` numbers the first class."""
    text = str(value).strip().lower()
    if text in _WORDS:
        label = _WORDS[text]
    elif re.fullmatch(r"-?\d+(\.0)?", text):
        label = int(float(text)) - first
    else:
        return None
    return label if 0 <= label < n_labels else None


def labelled(fields: Row, value: Any, n_labels: int, *, first: int = 0) -> Iterable[Row]:
    """The fields with their integer label, or nothing when there is none."""
    label = integer(value, n_labels, first=first)
    return () if label is None else ({**fields, "label": label},)


def plain_review(text: str) -> str:
    """A review without HTML line breaks; a Python bytes literal that was saved as text is decoded."""
    if re.match(r"""b(['"]).*\1\s*$""", text, re.DOTALL):
        try:
            text = ast.literal_eval(text.strip()).decode("utf-8", "replace")
        except (ValueError, SyntaxError):
            pass
    return _BREAK.sub(" ", text).strip()


def _review(text_field: str, label_field: str) -> Callable[[Row], Iterable[Row]]:
    return lambda row: labelled({"text": plain_review(row[text_field])}, row[label_field], 2)


def _review_file(row: Row) -> Iterable[Row]:
    return labelled({"text": plain_review(row["text"])}, Path(row["path"]).parent.name, 2)


def _in_pos_or_neg(row: Row) -> bool:
    return "path" in row and Path(row["path"]).parent.name in ("pos", "neg", "unsup")


_LABEL_NAMES = ("label", "sentiment", "polarity", "target", "class")


def _any_review(row: Row) -> Iterable[Row]:
    """A table with other names: a column named like a label, or the last of two; the longest other cell is the text."""
    names = [name for name in row if name.lower() in _LABEL_NAMES] or (list(row)[-1:] if len(row) == 2 else [])
    texts = [value for name, value in row.items() if name not in names and isinstance(value, str)]
    return labelled({"text": plain_review(max(texts, key=len))}, row[names[0]], 2) if texts and names else ()


IMDB_LAYOUTS = (
    Layout("aclImdb folders", _in_pos_or_neg, _review_file),
    Layout("text, label", has("text", "label"), _review("text", "label")),
    Layout(
        "a text and a label by any name", lambda row: "path" not in row and bool(tuple(_any_review(row))), _any_review
    ),
)


def _is_class(row: Row, n_columns: int) -> bool:
    return set(row) == {str(i) for i in range(n_columns)} and str(row["0"]).strip().isdigit()


def _title_and_body(name: str, n_labels: int, *, join: bool) -> Layout:
    """Headerless csv of class (from 1), title, body; `join` puts the title before the body, as the hub does."""

    def convert(row: Row) -> Iterable[Row]:
        body = " ".join((row["1"], row["2"])) if join else row["2"]
        return labelled({name: body.strip()}, row["0"], n_labels, first=1)

    return Layout("headerless class, title, body", lambda row: _is_class(row, 3), convert)


def _stars(row: Row) -> Iterable[Row]:
    return _polarity(_body(row["text"]), integer(row["label"], 5))


def _polarity(text: str, stars: int | None) -> Iterable[Row]:
    return () if stars in (None, 2) else ({"content": text.strip(), "label": int(stars > 2)},)


def _body(text: str) -> str:
    """The review without the title above its first blank line."""
    return text.split("\n\n", 1)[-1].strip()


def _with_stripped(field: str, n_labels: int) -> Callable[[Row], Iterable[Row]]:
    return lambda row: labelled({field: row[field].strip()}, row["label"], n_labels)


FIVE_STARS = (
    "Amazon reviews of one to five stars stand in for amazon_polarity: 1-2 stars negative, 4-5 positive, 3 left out"
)

AMAZON_LAYOUTS = (
    _title_and_body("content", 2, join=False),
    Layout("content, label", has("content", "label"), _with_stripped("content", 2)),
    Layout(
        "text with title, label, label_text",
        lambda row: str(row.get("label_text")).lower() in ("negative", "positive") and "text" in row,
        lambda row: labelled({"content": _body(row["text"])}, row["label"], 2),
    ),
    Layout("five stars from 0", has("text", "label", "label_text"), _stars, stand_in=FIVE_STARS),
    Layout(
        "five stars from 1",
        has("review_body", "stars"),
        lambda row: _polarity(row["review_body"], integer(row["stars"], 5, first=1)),
        stand_in=FIVE_STARS,
    ),
)

AG_NEWS_LAYOUTS = (
    _title_and_body("text", 4, join=True),
    Layout("text, label", has("text", "label"), _with_stripped("text", 4)),
    Layout(
        "Class Index, Title, Description",
        has("Class Index", "Title", "Description"),
        lambda row: labelled({"text": f"{row['Title']} {row['Description']}".strip()}, row["Class Index"], 4, first=1),
    ),
)


def _renumbered_classes(path: Path) -> dict[str, str]:
    """Class numbers of a set that has its own numbering: lines `3: OfficeHolder` in a text file next to the table."""
    for beside in sorted(path.parent.glob("*.txt")):
        numbered = dict(
            re.findall(r"^\s*(\d+)\s*[:,\t]\s*(\w+)\s*$", beside.read_text("utf-8", "replace"), re.MULTILINE)
        )
        if set(numbered.values()) == set(DBPEDIA_CLASSES):
            return numbered
    return {}


def _read_renumbered(path: Path) -> Iterator[Row]:
    names = _renumbered_classes(path)
    for row in read_rows(path) if names else ():
        yield {**row, "class": names.get(str(row.get("0")).strip())}


def _convert_renumbered(row: Row) -> Iterable[Row]:
    return ({"content": row["1"].strip(), "label": DBPEDIA_CLASSES.index(row["class"])},) if row["class"] else ()


DBPEDIA_LAYOUTS = (
    _title_and_body("content", 14, join=False),
    Layout("content, label", has("content", "label"), _with_stripped("content", 14)),
    Layout(
        "headerless class, content with its own class list",
        lambda row: set(row) == {"0", "1", "class"},
        _convert_renumbered,
        read=_read_renumbered,
    ),
)


def _pair(first: str, second: str) -> Callable[[Row], Iterable[Row]]:
    return lambda row: labelled({"premise": row[first], "hypothesis": row[second]}, row["label"], 2)


RTE_LAYOUTS = (
    Layout("premise, hypothesis, label", has("premise", "hypothesis", "label"), _pair("premise", "hypothesis")),
    Layout("sentence1, sentence2, label", has("sentence1", "sentence2", "label"), _pair("sentence1", "sentence2")),
)


def _copa_item(row: Row) -> Iterable[Row]:
    fields = {"premise": row["p"], "choice1": row["a1"], "choice2": row["a2"], "question": row["asks-for"]}
    return labelled(fields, row["most-plausible-alternative"], 2, first=1)


def _copa_completion(row: Row) -> Iterable[Row]:
    """Benchmark form: `premise, because` asks for the cause, `premise, therefore` for the effect."""
    premise, _, link = row["query"].rpartition(", ")
    asked = {"because": "cause", "therefore": "effect"}.get(link.strip())
    if asked is None:
        return ()
    fields = {"premise": f"{premise}.", "choice1": row["choices"][0], "choice2": row["choices"][1], "question": asked}
    return labelled(fields, row["gold"], 2)


def _by_label(n_labels: int = 2) -> Callable[[Row], Iterable[Row]]:
    return lambda row: labelled(row, row["label"], n_labels)


COPA_LAYOUTS = (
    Layout("premise, choice1, choice2, label", has("premise", "choice1", "choice2", "question", "label"), _by_label()),
    Layout(
        "COPA xml",
        has("asks-for", "most-plausible-alternative", "p", "a1", "a2"),
        _copa_item,
        sources={"validation": "train"},  # COPA has no train file: its dev questions are the ones to learn from
    ),
    Layout("query, choices, gold", has("query", "choices", "gold"), _copa_completion),
)


def _boolq(field: str) -> Callable[[Row], Iterable[Row]]:
    return lambda row: labelled({"passage": row["passage"], "question": row["question"]}, row[field], 2)


def _boolq_query(row: Row) -> Iterable[Row]:
    passage, found, question = row["query"].rpartition("\nQuestion: ")
    choice = row["choices"][int(row["gold"])]
    fields = {"passage": passage.removeprefix("Passage: "), "question": question.split("\n")[0].rstrip("?").strip()}
    return labelled(fields, choice, 2) if found else ()


BOOLQ_LAYOUTS = (
    Layout("question, passage, answer", has("question", "passage", "answer"), _boolq("answer")),
    Layout("question, passage, label", has("question", "passage", "label"), _boolq("label")),
    Layout("query, choices, gold", has("query", "choices", "gold"), _boolq_query),
)


def _read_with_labels(path: Path) -> Iterator[Row]:
    """PIQA as published: `train.jsonl` beside `train-labels.lst`, one label a line."""
    labels = path.with_name(f"{path.stem}-labels.lst")
    if labels.is_file():
        for row, label in zip(read_rows(path), labels.read_text("utf-8").split(), strict=False):
            yield {**row, "label": label}


def _piqa_query(row: Row) -> Iterable[Row]:
    goal = row["query"].removeprefix("Question: ").removesuffix("Answer:").strip()
    return labelled({"goal": goal, "sol1": row["choices"][0], "sol2": row["choices"][1]}, row["gold"], 2)


def _piqa_instruction(row: Row) -> Iterable[Row]:
    found = re.search(
        r"question:\s*(?P<goal>.*?)\s*Solution1:\s*(?P<sol1>.*?)\s*Solution2:\s*(?P<sol2>.*?)\s*Answer format:",
        row["instruction"],
        re.DOTALL,
    )
    return labelled(found.groupdict(), str(row["answer"]).removeprefix("solution"), 2, first=1) if found else ()


PIQA_LAYOUTS = (
    Layout("jsonl with labels.lst", has("goal", "sol1", "sol2", "label"), _by_label(), read=_read_with_labels),
    Layout("goal, sol1, sol2, label", has("goal", "sol1", "sol2", "label"), _by_label()),
    Layout("query, choices, gold", has("query", "choices", "gold"), _piqa_query),
    Layout("instruction, answer", has("instruction", "answer"), _piqa_instruction),
)
