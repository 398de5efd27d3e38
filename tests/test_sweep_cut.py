"""What is held out: nothing that a training row is about, in whichever source, is tested."""

import numpy as np
import pytest

from probeshift.experiments.sweep_texts import _groups
from probeshift.feature_tables import FeatureTable
from probeshift.mixture_scores import HELD_OUT, NEITHER, SUBSET, TRAIN, Mixture, MixtureScores
from probeshift.mixtures import join_sets

CITIES = [f"city {i}" for i in range(200)]
PAIRS = [f"{CITIES[i]} | {CITIES[(7 * i + 3) % 200]}" for i in range(200)]


def table(name, groups):
    labels = np.arange(len(groups)) % 2 == 0
    return FeatureTable(name, np.ones((len(groups), 3)), labels, name, groups=tuple(groups))


def parts(*sources):
    rows = join_sets([(table(name, groups), share) for name, groups, share in sources], [], seed=0).rows
    return {name: rows.loc[rows["set"] == name, "part"].to_numpy() for name, _, _ in sources}


@pytest.mark.parametrize("shares", [(0.3, 0.3), (0.0, 0.5), (0.5, 0.2)])
def test_a_group_is_on_one_side_in_every_source_whatever_their_shares(shares):
    found = parts(("a", CITIES, shares[0]), ("b", CITIES[:100], shares[1]))
    assert (found["a"][:100] == found["b"]).all()
    assert (found["b"] == HELD_OUT).mean() == pytest.approx(min(shares), abs=0.1)


def test_groups_that_are_in_one_source_only_go_by_its_share():
    found = parts(("a", CITIES[:100], 0.0), ("b", CITIES[100:], 0.5))
    assert (found["a"] == TRAIN).all()
    assert (found["b"] == HELD_OUT).mean() == pytest.approx(0.5, abs=0.1)


def test_a_row_about_two_entities_is_held_out_or_trained_on_with_both_or_used_by_nobody():
    found = parts(("single", CITIES, 0.3), ("pairs", PAIRS, 0.3))
    side = dict(zip(CITIES, found["single"], strict=True))
    for pair, part in zip(PAIRS, found["pairs"], strict=True):
        sides = {side[city] for city in pair.split(" | ")}
        assert part == (sides.pop() if len(sides) == 1 else NEITHER)
    assert {TRAIN, HELD_OUT, NEITHER} == set(found["pairs"])


def test_a_row_shares_an_entity_with_training_when_either_of_its_two_is_there():
    rows = join_sets(
        [(table("single", CITIES[:2]), 0.0)], [table("pairs", ["city 0 | city 9", "city 8 | city 9"])], seed=0
    )
    members = rows.training(["single"])[None]
    found = MixtureScores(rows.rows, (Mixture("m", SUBSET, ("single",)),), np.zeros(members.shape), members, {}, {})
    assert found.shares_group(0).tolist() == [True, True, True, False]


def test_questions_of_two_datasets_with_the_same_number_are_not_one_group():
    assert _groups([(None, "imdb", "test/1"), (None, "copa", "test/1")]) == ("imdb test/1", "copa test/1")
    assert _groups([("Paris", "affirmed", "1"), ("Paris", "negated", "2")]) == ("Paris", "Paris")
    assert _groups([("Paris", "affirmed", "1"), (float("nan"), "own", None)]) is None
