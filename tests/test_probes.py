"""One contract for every method: what it must do, each theorem with a twin that shows the opposite case."""

import numpy as np
import planted
import pytest
import torch

from probeshift.errors import UsageError
from probeshift.probes import METHODS, LinearProbe, TrainingSet, ccs, find_method

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


def assert_same_directions(method, found, wanted, atol):
    """Equal up to `atol` of the length; the sign too where the method fixes it itself."""
    signs = np.ones(len(found)) if method.sign == "fitted" else np.sign(cosines(found, wanted))
    length = np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found * signs[:, None] / length, wanted / length, atol=atol)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_order_of_rows_does_not_matter(method):
    order = np.random.default_rng(0).permutation(RECIPE.n_questions * RECIPE.options)
    a, b = fit(method, training(RECIPE)), fit(method, training(RECIPE, order=order))
    # CCS stops where its loss falls by less than 1e-9, which leaves its direction open by the root of that
    assert_same_directions(method, a.directions, b.directions, atol=1e-3 if method.name == "ccs" else 1e-9)


@pytest.mark.parametrize("method", SUPERVISED, ids=lambda m: m.name)
def test_flipped_labels_flip_the_direction(method):
    a, b = fit(method, training(RECIPE)), fit(method, training(RECIPE, flip=True))
    np.testing.assert_allclose(a.directions, -b.directions, atol=1e-9)


@pytest.mark.parametrize("method", [m for m in LEARNED if m.sign != "fitted"], ids=lambda m: m.name)
def test_flipped_labels_leave_a_direction_found_without_labels(method):
    a, b = fit(method, training(RECIPE)), fit(method, training(RECIPE, flip=True))
    assert_same_directions(method, a.directions, b.directions, atol=1e-3 if method.name == "ccs" else 1e-9)


def rotation(d_model):
    return np.linalg.qr(np.random.default_rng(3).normal(size=(d_model, d_model)))[0]


@pytest.mark.parametrize("method", [m for m in LEARNED if m.name != "ccs"], ids=lambda m: m.name)
def test_rotating_the_activations_rotates_the_direction(method):
    turn = rotation(planted.D_MODEL)
    a, b = fit(method, training(RECIPE)), fit(method, training(RECIPE, rotate=turn))
    # float32 activations: a rotated coordinate carries a relative rounding of 6e-8
    assert_same_directions(method, b.directions, a.directions @ turn.T, atol=1e-4)


def test_rotating_rows_and_point_leaves_the_loss_of_ccs_and_rotates_its_gradient():
    """Which of its many optima a search ends in is chaotic; what it searches is not."""
    turn, rng = torch.from_numpy(rotation(6)), torch.Generator().manual_seed(0)
    rows, points = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((1, 8, 6), (1, 3, 7)))
    spin = lambda p: torch.cat([p[..., :-1] @ turn.T, p[..., -1:]], dim=-1)  # noqa: E731
    shortened = torch.zeros(1, 0, 6, dtype=torch.float64)
    (loss, gradient), (turned_loss, turned_gradient) = (
        ccs._loss(r, shortened, p) for r, p in ((rows, points), (rows @ turn.T, spin(points)))
    )
    torch.testing.assert_close(turned_loss, loss)
    torch.testing.assert_close(turned_gradient, spin(gradient))
    assert not torch.allclose(ccs._loss(rows @ turn.T, shortened, points)[0], loss)


def test_with_fewer_rows_than_dimensions_lda_depends_on_the_basis_and_shrunk_lda_does_not():
    recipe, turn = planted.Recipe("wide", planted.unit(1, 400)), rotation(400)
    cosine = {}
    for name in ("lda", "lda-shrunk"):
        a, b = (fit(find_method(name), training(recipe, rotate=r)).directions for r in (None, turn))
        cosine[name] = cosines(a @ turn.T, b)
    assert (cosine["lda-shrunk"] > 0.99999).all() and (cosine["lda"] < 0.999).all()


@pytest.mark.parametrize("method", LEARNED, ids=lambda m: m.name)
def test_a_planted_direction_is_found(method):
    where = np.tile(planted.unit(1), (3, 1))
    found = np.abs(cosines(fit(method, training(RECIPE)).directions, where))
    # 240 rows in 48 dimensions: methods that weigh by the noise they estimate pay for estimating it
    assert (found > 0.75).all()
    # the twin: nothing planted, nothing found
    nothing = fit(method, training(planted.Recipe("noise", planted.unit(1), strength=0.0))).directions
    assert (np.abs(cosines(nothing, where)) < 0.6).all()


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


@pytest.mark.parametrize("method", [m for m in METHODS if m.needs_groups], ids=lambda m: m.name)
def test_a_method_that_needs_questions_says_so(method):
    ungrouped = training(planted.Recipe("loose", planted.unit(1), grouped=False))
    with pytest.raises(UsageError, match="compares the answers of one question, `loose` has no questions"):
        fit(method, ungrouped)
    alone = TrainingSet("alone", (0,), ungrouped.acts[:1], ungrouped.labels, np.arange(len(ungrouped.labels)))
    with pytest.raises(UsageError, match="questions with more than one answer"):
        fit(method, alone)


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m.least_rows > 2 and not m.needs_groups], ids=lambda m: m.name
)
def test_too_few_rows_are_refused(method):
    acts = np.random.default_rng(0).normal(size=(1, 2, 5)).astype(np.float32)
    with pytest.raises(UsageError, match=f"`tiny` is too small: this method needs at least {method.least_rows} rows"):
        fit(method, TrainingSet("tiny", (0,), acts, np.array([True, False])))


def test_ccs_needs_two_questions_with_both_answers():
    acts, groups = np.random.default_rng(0).normal(size=(1, 6, 5)).astype(np.float32), np.array([0, 0, 1, 1, 2, 2])
    one_pair = TrainingSet("thin", (0,), acts, np.array([True, False, True, True, False, False]), groups)
    with pytest.raises(UsageError, match="two questions with a true and a false answer"):
        fit(find_method("ccs"), one_pair)


def test_constant_activations_are_refused_by_layer():
    acts = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32)
    acts[1] = 3.0
    with pytest.raises(UsageError, match="`flat` has the same activation in every row at layer 7"):
        TrainingSet("flat", (3, 7), acts, np.array([True, False, True, False]))


def test_the_published_procedure_has_its_own_ccs_and_nothing_else():
    assert find_method("ccs", "published").procedure == "published"
    assert find_method("ccs").procedure == "" and find_method("lat", "published") is find_method("lat")
