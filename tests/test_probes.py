"""One contract for every method: what it must do, each theorem with a twin that shows the opposite case."""

import numpy as np
import planted
import pytest

from probeshift.errors import UsageError
from probeshift.probes import METHODS, LinearProbe, TrainingSet, find_method

LEARNED = [m for m in METHODS if not m.control]
SUPERVISED = [m for m in METHODS if m.sign == "fitted"]


def training(recipe, *, order=None, rotate=None, flip=False, scale=1.0):
    labels, groups, kinds = planted.rows_of(recipe)
    acts = np.stack([planted.acts_of(recipe, labels, layer) for layer in planted.LAYERS]) * np.float32(scale)
    if rotate is not None:
        acts = (acts @ rotate.T).astype(np.float32)
    codes = np.unique(groups, return_inverse=True)[1].astype(np.int64) if recipe.grouped else None
    types = np.unique(kinds, return_inverse=True)[1].astype(np.int64) if recipe.grouped else None
    order = np.arange(len(labels)) if order is None else order
    pick = lambda a: None if a is None else a[order]  # noqa: E731
    return TrainingSet(recipe.name, planted.LAYERS, acts[:, order], labels[order] ^ flip, pick(codes), pick(types))


def fit(method, data):
    return method.fit(data, [7 + layer for layer in data.layers])


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


RECIPE = planted.Recipe("planted", planted.unit(1))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_same_seed_gives_the_same_probe(method):
    a, b = fit(method, training(RECIPE)), fit(method, training(RECIPE))
    np.testing.assert_array_equal(a.directions, b.directions)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_order_of_rows_does_not_matter(method):
    order = np.random.default_rng(0).permutation(RECIPE.n_questions * RECIPE.options)
    a, b = fit(method, training(RECIPE)), fit(method, training(RECIPE, order=order))
    np.testing.assert_allclose(a.directions, b.directions, atol=1e-12)


@pytest.mark.parametrize("method", SUPERVISED, ids=lambda m: m.name)
def test_flipped_labels_flip_the_direction(method):
    a, b = fit(method, training(RECIPE)), fit(method, training(RECIPE, flip=True))
    np.testing.assert_allclose(a.directions, -b.directions, atol=1e-12)


@pytest.mark.parametrize("method", LEARNED, ids=lambda m: m.name)
def test_rotating_the_activations_rotates_the_direction(method):
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(planted.D_MODEL, planted.D_MODEL)))[0]
    a, b = fit(method, training(RECIPE)), fit(method, training(RECIPE, rotate=rotation))
    # float32 activations: a rotated coordinate carries a relative rounding of 6e-8
    np.testing.assert_allclose(a.directions @ rotation.T, b.directions, atol=1e-5)


@pytest.mark.parametrize("method", LEARNED, ids=lambda m: m.name)
def test_a_planted_direction_is_found(method):
    found = fit(method, training(RECIPE)).directions
    assert (cosines(found, np.tile(planted.unit(1), (3, 1))) > 0.9).all()
    # the twin: nothing planted, nothing found
    nothing = fit(method, training(planted.Recipe("noise", planted.unit(1), strength=0.0))).directions
    assert (np.abs(cosines(nothing, np.tile(planted.unit(1), (3, 1)))) < 0.6).all()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_directions_and_biases_are_finite_and_one_per_layer(method):
    found = fit(method, training(RECIPE))
    assert found.directions.shape == (3, planted.D_MODEL) and np.isfinite(found.directions).all()
    assert found.biases is None or found.biases.shape == (3,)


def test_dim_is_the_difference_of_class_means_with_the_threshold_between_them():
    data = training(RECIPE)
    found = fit(find_method("dim"), data)
    true, false = (data.acts[:, data.labels == kind].astype(np.float64).mean(1) for kind in (True, False))
    np.testing.assert_allclose(found.directions, true - false, atol=1e-12)
    for layer in range(3):
        probe = LinearProbe(found.directions[layer], float(found.biases[layer]))
        assert probe.score(true[layer][None].astype(np.float32))[0] == pytest.approx(
            -probe.score(false[layer][None].astype(np.float32))[0], rel=1e-4
        )


def test_dim_survives_a_massive_activation():
    """One coordinate 1e4 times the others, equal in both classes: in float32 sums its rounding would swamp the signal."""
    labels, _, _ = planted.rows_of(RECIPE)
    acts = np.stack([planted.acts_of(RECIPE, labels, layer) for layer in planted.LAYERS])
    acts[:, :, 0] = 1e4
    found = fit(find_method("dim"), TrainingSet("massive", planted.LAYERS, acts, labels))
    assert np.abs(found.directions[:, 0]).max() < 1e-9


def test_random_directions_differ_between_layers_and_have_unit_norm():
    found = fit(find_method("random"), training(RECIPE)).directions
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0)
    assert abs(cosines(found[:1], found[1:2])[0]) < 0.6


def test_one_class_is_refused():
    labels = np.ones(4, dtype=bool)
    with pytest.raises(UsageError, match="one class only: all 4 rows are true"):
        TrainingSet("toy", (0,), np.zeros((1, 4, 3), dtype=np.float32), labels)


def test_activations_that_are_not_finite_are_refused():
    acts = np.zeros((1, 4, 3), dtype=np.float32)
    acts[0, 2, 1] = np.nan
    with pytest.raises(UsageError, match="not finite"):
        TrainingSet("toy", (0,), acts, np.array([True, False, True, False]))


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(UsageError, match="`dim`"):
        find_method("dimm")


def test_names_of_methods_are_distinct():
    assert len({m.name for m in METHODS}) == len(METHODS)
