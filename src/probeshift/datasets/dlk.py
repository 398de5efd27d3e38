"""Two answers to each question, one right and one wrong; the answer is the end of the text.

Sets and layout follow "Discovering latent knowledge" (arXiv 2212.03827) as used by "How well do truth probes
generalise?"; the wording of the templates is this project's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probeshift.datasets import dlk_layouts as layouts
from probeshift.datasets.dataset import DatasetSpec
from probeshift.datasets.questions import Answer, Question, Record, Row

CAP = 3000  # questions of each source split, first in shuffled order

SENTIMENTS = ("Negative", "Positive")
NEWS_TOPICS = ("World", "Sports", "Business", "Sci/Tech")
YES_NO = ("yes", "no")
FALSE_TRUE = ("False", "True")
CHOICES = ("Choice 1", "Choice 2")


# Templates. Each takes the fields, the two options (lower label first) and the candidate that ends the text.


def imdb_text(row: Row, first: str, second: str, candidate: str) -> str:
    """Review, one line that names both sentiments, candidate."""
    asked = f"Is the sentiment of this review {first} or {second}?"
    return f'A film review reads: "{row["text"]}"\n{asked} The sentiment is {candidate}'


def amazon_text(row: Row, first: str, second: str, candidate: str) -> str:
    """Review without its title, the two choices, candidate."""
    asked = "Which choice names the sentiment of this review?"
    choices = f"Choice 1: {first}\nChoice 2: {second}"
    return f'A customer wrote about a product: "{row["content"]}"\n{choices}\n{asked} {candidate}'


def ag_news_text(row: Row, first: str, second: str, candidate: str) -> str:
    """News item, the two choices, candidate."""
    asked = "Which choice names the topic of this item?"
    return f'A news item says: "{row["text"]}"\nChoice 1: {first}\nChoice 2: {second}\n{asked} {candidate}'


def dbpedia_text(row: Row, first: str, second: str, candidate: str) -> str:
    """Encyclopedia entry without its title, the two choices, candidate."""
    asked = "Which choice names the kind of thing described?"
    return f'An encyclopedia entry says: "{row["content"]}"\nChoice 1: {first}\nChoice 2: {second}\n{asked} {candidate}'


def rte_text(row: Row, _first: str, _second: str, candidate: str) -> str:
    """Premise, question whether it implies the hypothesis, candidate."""
    return f'{row["premise"]}\nFrom this alone, does it follow that "{row["hypothesis"]}", yes or no?\n{candidate}'


def copa_text(row: Row, _first: str, _second: str, candidate: str) -> str:
    """Premise, the two choices, which is the likelier cause or effect, candidate."""
    choices = f"Choice 1: {row['choice1']}\nChoice 2: {row['choice2']}"
    return f'This happened: "{row["premise"]}"\n{choices}\nOf the two, the likelier {row["question"]} is\n{candidate}'


def boolq_text(row: Row, _first: str, _second: str, candidate: str) -> str:
    """Passage, question, candidate."""
    return f"Passage: {row['passage']}\nAsked about it: {row['question'].rstrip('?')}? True or false?\n{candidate}"


def piqa_text(row: Row, _first: str, _second: str, candidate: str) -> str:
    """Goal, the two endings, candidate."""
    choices = f"Choice 1: {row['sol1']}\nChoice 2: {row['sol2']}"
    return f"Goal: {row['goal']}\nWhich ending reaches the goal?\n{choices}\n{candidate}"


# From a record to its question.


def two_options(gold: int, index: int, n_labels: int) -> tuple[int, int]:
    """The right label and one wrong one, lower first.

    The wrong one is number `index mod (n_labels - 1)` of the labels that remain.
    """
    wrong = [label for label in range(n_labels) if label != gold][index % (n_labels - 1)]
    return min(gold, wrong), max(gold, wrong)


def question_writer(labels: tuple[str, ...], text: Callable[[Row, str, str, str], str]) -> Callable[[Record], Question]:
    """Turns a record with an integer `label` into a question of two answers of types "0" and "1"."""

    def write(record: Record) -> Question:
        pair = two_options(record.fields["label"], record.index, len(labels))
        first, second = (labels[i] for i in pair)
        answers = tuple(
            Answer(str(j), text(record.fields, first, second, labels[label]), label == record.fields["label"], str(j))
            for j, label in enumerate(pair)
        )
        return Question(record.key, answers, record.source)

    return write


# The entries.


def _entry(name: str, labels: tuple[str, ...], text: Callable[[Row, str, str, str], str], **facts: Any) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        family="dlk",
        hub_revision=facts.pop("hub_revision", None),
        hub_config=facts.pop("hub_config", None),
        grouped=True,
        answer_types=("0", "1"),
        options="2",
        seed=name,
        cap=CAP,
        write=question_writer(labels, text),
        **facts,
    )


IMDB = _entry(
    "imdb",
    SENTIMENTS,
    imdb_text,
    hub_id="stanfordnlp/imdb",
    source_splits=("train", "test"),
    licence="not stated; research",
    related=("amazon_polarity",),
    note="HTML line breaks become spaces",
    files="aclImdb/{train,test}/{pos,neg}/*.txt, or a table with text and label (or review and sentiment)",
    keywords=("imdb", "aclimdb"),
    layouts=layouts.IMDB_LAYOUTS,
)
AMAZON_POLARITY = _entry(
    "amazon_polarity",
    SENTIMENTS,
    amazon_text,
    hub_id="fancyzhx/amazon_polarity",
    source_splits=("train", "test"),
    licence="Apache-2.0; treat as non-commercial",
    related=("imdb",),
    note="the title is not used",
    files="amazon_review_polarity_csv/{train,test}.csv (class from 1, title, body), or a table with content and label",
    keywords=("amazon",),
    layouts=layouts.AMAZON_LAYOUTS,
)
AG_NEWS = _entry(
    "ag_news",
    NEWS_TOPICS,
    ag_news_text,
    hub_id="fancyzhx/ag_news",
    source_splits=("train", "test"),
    licence="not stated; non-commercial",
    files="ag_news_csv/{train,test}.csv (class from 1, title, description), or a table with text and label",
    keywords=("ag news", "agnews"),
    layouts=layouts.AG_NEWS_LAYOUTS,
)
DBPEDIA_14 = _entry(
    "dbpedia_14",
    layouts.DBPEDIA_CLASSES,
    dbpedia_text,
    hub_id="fancyzhx/dbpedia_14",
    source_splits=("train", "test"),
    licence="CC BY-SA 3.0",
    note="the title is not used",
    files="dbpedia_csv/{train,test}.csv (class from 1, title, content), or a table with content and label",
    keywords=("dbpedia", "dbpedia14"),
    layouts=layouts.DBPEDIA_LAYOUTS,
)
RTE = _entry(
    "rte",
    YES_NO,
    rte_text,
    hub_id="aps/super_glue",
    hub_config="rte",
    source_splits=("train", "validation"),
    licence="not stated; research",
    files="RTE/{train,val}.jsonl (premise, hypothesis, label), or GLUE tsv (sentence1, sentence2, label)",
    keywords=("rte",),
    layouts=layouts.RTE_LAYOUTS,
)
COPA = _entry(
    "copa",
    CHOICES,
    copa_text,
    hub_id="aps/super_glue",
    hub_config="copa",
    source_splits=("train", "validation"),
    licence="BSD 2-Clause",
    note="of the original XML files dev serves as train: SuperGLUE made its train and validation splits of it",
    files="COPA/{train,val}.jsonl (premise, choice1, choice2, question, label), or copa-dev.xml and copa-test.xml",
    keywords=("copa",),
    layouts=layouts.COPA_LAYOUTS,
)
BOOLQ = _entry(
    "boolq",
    FALSE_TRUE,
    boolq_text,
    hub_id="aps/super_glue",
    hub_config="boolq",
    source_splits=("train", "validation"),
    licence="CC BY-SA 3.0",
    files="boolq/{train,dev}.jsonl (question, passage, answer or label)",
    keywords=("boolq", "bool q"),
    layouts=layouts.BOOLQ_LAYOUTS,
)
PIQA = _entry(
    "piqa",
    CHOICES,
    piqa_text,
    hub_id="ybisk/piqa",
    hub_revision="refs/convert/parquet",
    source_splits=("train", "validation"),
    licence="AFL 3.0",
    note="the hub's own loading script is never run: the parquet revision is read",
    files="piqa/{train,valid}.jsonl (goal, sol1, sol2) each beside {train,valid}-labels.lst",
    keywords=("piqa", "physicaliqa"),
    layouts=layouts.PIQA_LAYOUTS,
)
