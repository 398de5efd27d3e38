"""The tutorial runs, and says what comes out."""

from collections import Counter

import numpy as np
import pages
import pandas as pd
import pytest

from probeshift.datasets import load_dataset
from probeshift.metrics import measure

PAGE = (pages.DOCS / "tutorial.md").read_text("utf-8")


def test_every_block_of_the_tutorial_runs_and_prints_what_the_page_says(tmp_path):
    pages.run_page(PAGE, tmp_path)
    shown = pd.read_csv(pages.DOCS / "tutorial" / "accuracy_by_layer.csv")
    drawn = pd.read_csv(tmp_path / "output/comparison/smollm2-135m/accuracy_by_layer.csv")
    # the picture on the page: accuracies of 41 to 94 questions, of which one may fall the other way
    pd.testing.assert_frame_equal(drawn, shown, atol=0.03, rtol=0)


def test_counting_countries_without_a_model_is_as_far_below_chance_as_the_page_says():
    cities = load_dataset("facts_cities_affirmed")
    counts = Counter()
    for row in cities.split("train", limit=200):
        counts[row.text.split(" in ")[-1]] += 1 if row.label else -1
    scores = np.array([[counts[row.text.split(" in ")[-1]] for row in cities.split("test")]], dtype=float)
    labels = np.array([row.label for row in cities.split("test")])
    groups = np.unique([row.group for row in cities.split("test")], return_inverse=True)[1]
    accuracy = measure(scores, labels, groups, n_resamples=1).accuracy.value[0]
    assert f"has an accuracy of {accuracy:.2f} on test" in PAGE and accuracy < 0.4


OUTPUT = "| layer 13 | 0.70 [0.64, 0.76] | n 94 |\nscores.csv\nend\n"


@pytest.mark.parametrize(
    "claimed",
    [
        "layer 13 0.71 [0.64, 0.76] n 93",
        "layer 13 0.75 [0.64, 0.76] n 94",
        "layer 13 0.70 [0.64, 0.76] n 94 more",
        "│ layer 13 │ 0.70 [0.64, 0.76] │ n 94 │\nend",
        "end\n...\nscores.csv",
    ],
)
def test_an_output_that_does_not_come_out_is_noticed(claimed):
    assert pages.first_missing(claimed, OUTPUT.replace("|", " ")) is not None


@pytest.mark.parametrize(
    "claimed",
    ["layer 13 0.71 [0.64, 0.75] n 94\nscores.csv", "layer 13 ... n 94\n...\nend", "...\nend", "scores.csv\nend"],
)
def test_an_output_that_does_come_out_is_found(claimed):
    assert pages.first_missing(claimed, OUTPUT.replace("|", " ")) is None


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("```bash\nfalse\n```", "exit code 1"),
        ("```bash\nprobeshift no-such-command\n```", "exit code 2"),
        ("```bash\ncat nothing | sort\n```", "exit code"),
        ("```bash\necho 1\n```\n\n```text\n2\n```", "not printed: '2'"),
        ("```sh\necho\n```", "which nothing runs"),
        ("`a.py`:\n\n```python\na = 1\n```\n\n```diff\n-a = 2\n+a = 3\n```", "has these lines 0 times"),
        (
            "`a.py`:\n\n```python\na = 1\n```\n\n```diff\n-a = 1\n+a = 3\n```\n\n```bash\ngrep -q 2 a.py\n```",
            "exit code 1",
        ),
    ],
)
def test_a_page_that_does_not_hold_is_noticed(block, why, tmp_path):
    with pytest.raises(AssertionError, match=why):
        pages.run_page(f"text\n\n{block}\n", tmp_path)
