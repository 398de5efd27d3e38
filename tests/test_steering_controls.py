"""Control vectors, halves of the data, and strengths at equal side effect."""

import dataclasses

import numpy as np
import pytest
import tiny_models
from test_steering_generation import some_prompts
from test_steering_interventions import a_vector

from probeshift.errors import UsageError
from probeshift.models import load_model
from probeshift.steering.contrasts import Contrast
from probeshift.steering.controls import halves, mean_vector, random_vector
from probeshift.steering.interventions import Intervention
from probeshift.steering.likelihood import kl_from_unsteered
from probeshift.steering.side_effect import strength_at_kl


@pytest.fixture(scope="module")
def llama():
    return load_model(str(tiny_models.shared("llama")), dtype="float32", device="cpu", check=False)


def test_random_vectors_differ_by_seed_and_share_the_unit_of_strength():
    vector = a_vector()
    a, b, again = (random_vector(vector, seed) for seed in (1, 2, 1))
    assert np.array_equal(a.direction, again.direction)
    assert abs(a.direction @ b.direction) < 0.6 and abs(a.direction @ vector.direction) < 0.6
    assert (a.max_activation, a.layer, a.concept, a.card.norm) == (3.0, 1, "c", vector.card.norm)
    assert a.card.method == "random direction"


def test_the_mean_vector_is_that_of_the_unit_vectors():
    vectors = [a_vector(seed, concept=f"c{seed}") for seed in range(3)]
    mean = np.mean([v.direction for v in vectors], axis=0)
    np.testing.assert_allclose(mean_vector(vectors).direction, mean / np.linalg.norm(mean), atol=1e-6)
    for wrong in ([], [a_vector(), a_vector(layer=2)]):
        with pytest.raises(UsageError, match="one layer of one model"):
            mean_vector(wrong)


@pytest.mark.parametrize("n_prompts", [1, 9])
def test_halves_are_disjoint_complete_and_balanced_and_keep_pairs_together(n_prompts):
    rows = [
        Contrast(concept, f"{concept} {i % n_prompts}", f"{kind} {i}", kind)
        for concept in ("a", "b")
        for i in range(9)
        for kind in (True, False)
    ]
    first, second = halves(rows)
    assert sorted(map(str, first + second)) == sorted(map(str, rows))
    for half in (first, second):
        for concept in ("a", "b"):
            kinds = [row.positive for row in half if row.concept == concept]
            assert kinds.count(True) in (4, 5) and kinds.count(False) in (4, 5)
    if n_prompts > 1:
        assert {row.prompt for row in first}.isdisjoint(row.prompt for row in second)
    assert halves(list(reversed(rows)))[0] != [] and set(halves(list(reversed(rows)))[0]) == set(first)


def test_the_calibrated_strength_has_the_side_effect_that_was_asked(llama):
    sequences, lengths = some_prompts((9, 7, 12)), [3, 3, 4]
    for target in (0.05, 0.5):
        found = strength_at_kl(llama, a_vector(), sequences, lengths, target=target)
        rows = [Intervention(a_vector(), found.strength)] * 3
        assert np.mean(kl_from_unsteered(llama, sequences, lengths, rows)) == pytest.approx(target, rel=0.02)
        assert found.kl == pytest.approx(target, rel=0.02)


def test_a_vector_in_a_larger_unit_is_calibrated_to_a_smaller_strength(llama):
    sequences, lengths = some_prompts((9, 7)), [3, 3]
    one = a_vector()
    double = dataclasses.replace(one, card=dataclasses.replace(one.card, max_activation=6.0))
    ours, theirs = (strength_at_kl(llama, v, sequences, lengths, target=0.2).strength for v in (one, double))
    assert ours == pytest.approx(2 * theirs, rel=0.05)


def test_a_side_effect_out_of_reach_is_undefined_with_a_reason(llama):
    found = strength_at_kl(llama, a_vector(), some_prompts((9,)), [3], target=1e4)
    assert found.strength is None and "stays below 10000" in found.reason
    with pytest.raises(UsageError, match="no text has one"):
        strength_at_kl(llama, a_vector(), some_prompts((4,)), [4])
