"""Maps between residual streams against scikit-learn, scipy and planted truth, each with a twin that fails."""

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.linear_model import Ridge
from test_steering_interventions import a_vector

from probeshift.errors import StoreError, UsageError
from probeshift.steering.contrasts import Contrast
from probeshift.steering.maps import MAPS, find_map
from probeshift.steering.maps.evidence import evidence_of
from probeshift.steering.maps.linear import LAMBDAS, RidgePath, solve_linear
from probeshift.steering.maps.low_rank import solve_low_rank
from probeshift.steering.maps.moments import Moments, linear_cka, r_squared
from probeshift.steering.maps.overlap import refuse_overlap
from probeshift.steering.maps.transfer_map import MapCard, TransferMap, load_map, save_map, transfer

DX, DY = 12, 9


def planted(n=400, weight=None, noise=0.1, seed=0, curve=0.0, offset=5.0):
    """Pairs of a linear truth with noise, off-centre on both sides; `curve` adds something non-linear."""
    draw = np.random.default_rng(seed)
    weight = draw.normal(size=(DX, DY)) if weight is None else weight
    x = draw.normal(size=(n, weight.shape[0])) * np.linspace(0.5, 3, weight.shape[0]) + offset
    y = (x - offset) @ weight + curve * np.abs(x[:, :1] - offset) + noise * draw.normal(size=(n, weight.shape[1])) - 3
    heldout = np.arange(n) % 5 == 0
    return weight, x, y, heldout


def evidence(x, y, heldout):
    return evidence_of(torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(heldout))


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def test_moments_are_those_of_all_pairs_whatever_the_batches():
    _, x, y, _ = planted()
    moments = Moments.empty(DX, DY)
    for rows in np.array_split(np.arange(len(x)), 7):
        moments.add(torch.from_numpy(x[rows]), torch.from_numpy(y[rows]))
    pairs = moments.centred()
    xc, yc = x - x.mean(0), y - y.mean(0)
    for found, expected in ((pairs.xx, xc.T @ xc), (pairs.xy, xc.T @ yc), (pairs.yy, yc.T @ yc)):
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-8)


def test_the_linear_map_is_scikit_learns_ridge_at_the_best_held_out_lambda():
    _, x, y, heldout = planted(n=60, noise=3.0)
    solved = solve_linear(evidence(x, y, heldout), 0)
    n, unit = (~heldout).sum(), np.linalg.eigvalsh(np.cov(x[~heldout].T, bias=True)).mean()
    scores = {}
    for one in LAMBDAS:
        ridge = Ridge(alpha=one * unit * n, solver="cholesky").fit(x[~heldout], y[~heldout])
        errors = ((ridge.predict(x[heldout]) - y[heldout]) ** 2).sum()
        scores[one] = 1 - errors / ((y[heldout] - y[heldout].mean(0)) ** 2).sum()
    best = max(scores, key=scores.get)
    assert solved.choices["lambda"] == best
    assert LAMBDAS[0] < best < LAMBDAS[-1]  # the twin: noise makes it choose one in between
    ridge = Ridge(alpha=best * unit * n, solver="cholesky").fit(x[~heldout], y[~heldout])
    np.testing.assert_allclose(solved.weight.numpy(), ridge.coef_.T, atol=1e-8)
    e = evidence(x, y, heldout)
    assert r_squared(solved.weight, e.train, e.heldout) == pytest.approx(scores[best], abs=1e-9)


def test_every_lambda_is_judged_as_its_own_weights_would_be():
    _, x, y, heldout = planted(n=60, noise=1.0)
    e = evidence(x, y, heldout)
    path = RidgePath.of(e)
    found = path.r_squared(LAMBDAS, e.train, e.heldout)
    assert found == pytest.approx([r_squared(path.weight(one), e.train, e.heldout) for one in LAMBDAS], abs=1e-9)
    assert np.ptp(found) > 0.1


def test_procrustes_is_scipys_and_finds_a_planted_rotation():
    turn = rotation(DX)
    _, x, y, heldout = planted(weight=2.5 * turn, noise=0.01)
    solved = find_map("procrustes").solve(evidence(x, y, heldout), 0)
    xc, yc = x[~heldout] - x[~heldout].mean(0), y[~heldout] - y[~heldout].mean(0)
    expected, _ = scipy.linalg.orthogonal_procrustes(xc, yc)
    np.testing.assert_allclose((solved.weight / solved.choices["scale"]).numpy(), expected, atol=1e-8)
    np.testing.assert_allclose(solved.weight.numpy(), 2.5 * turn, atol=0.01)


def test_procrustes_cannot_find_what_is_no_rotation_and_the_linear_map_can():
    shear = np.eye(DX) + np.diag(np.full(DX - 1, 4.0), 1)
    _, x, y, heldout = planted(weight=shear, noise=0.01)
    e = evidence(x, y, heldout)
    rigid, free = (r_squared(find_map(n).solve(e, 0).weight, e.train, e.heldout) for n in ("procrustes", "linear"))
    assert free > 0.999 > 0.99 > rigid


@pytest.mark.parametrize("shape", [(12, 9), (9, 12)])
def test_procrustes_between_two_widths_has_orthonormal_axes(shape):
    draw = np.random.default_rng(0)
    _, x, y, heldout = planted(weight=draw.normal(size=shape))
    solved = find_map("procrustes").solve(evidence(x, y, heldout), 0)
    turn = (solved.weight / solved.choices["scale"]).numpy()
    gram = turn.T @ turn if shape[0] > shape[1] else turn @ turn.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-8)


def test_the_low_rank_map_finds_the_planted_rank():
    draw = np.random.default_rng(1)
    weight = draw.normal(size=(DX, 2)) @ draw.normal(size=(2, DY))
    _, x, y, heldout = planted(weight=weight, noise=0.05)
    solved = find_map("lowrank").solve(evidence(x, y, heldout), 0)
    assert solved.choices["rank"] == 2
    assert np.linalg.matrix_rank(solved.weight.numpy(), tol=1e-6) == 2
    full = np.linalg.matrix_rank(solve_linear(evidence(x, y, heldout), 0).weight.numpy(), tol=1e-6)
    assert full == DY  # the twin: the linear map spends all its directions


def test_the_low_rank_map_is_the_best_of_its_rank():
    _, x, y, heldout = planted(noise=0.0)
    e = evidence(x, y, heldout)
    solved = solve_low_rank(e, 0, rank=3)
    # Reduced-rank regression: the truncated SVD of the fitted values, brought back to the weights.
    xc, yc = x[~heldout] - x[~heldout].mean(0), y[~heldout] - y[~heldout].mean(0)
    ols = np.linalg.lstsq(xc, yc, rcond=None)[0]
    _, _, vt = np.linalg.svd(xc @ ols, full_matrices=False)
    np.testing.assert_allclose(solved.weight.numpy(), ols @ vt[:3].T @ vt[:3], atol=1e-4)


def test_the_mlp_explains_what_the_linear_map_leaves_over():
    _, x, y, heldout = planted(n=3000, curve=3.0)
    e = evidence(x, y, heldout)
    solved = find_map("mlp").solve(e, 0)
    assert solved.choices["heldout_error_against_linear"] < 0.3
    fitted = a_map(solved.weight.numpy(), e, solved.residual)
    errors = ((fitted.predict(x[heldout]) - y[heldout]) ** 2).sum()
    linear = ((a_map(solved.weight.numpy(), e).predict(x[heldout]) - y[heldout]) ** 2).sum()
    assert errors / linear == pytest.approx(solved.choices["heldout_error_against_linear"], rel=1e-3)


def test_the_mlp_stays_the_linear_map_where_there_is_nothing_to_learn():
    _, x, y, heldout = planted(n=300, noise=1.0)
    solved = find_map("mlp").solve(evidence(x, y, heldout), 0)
    assert solved.choices["heldout_error_against_linear"] <= 1.0
    assert solved.choices["heldout_error_against_linear"] > 0.9


def test_the_mlp_is_the_same_for_the_same_seed():
    _, x, y, heldout = planted(n=2000, curve=3.0)
    a, b, c = (find_map("mlp").solve(evidence(x, y, heldout), seed).residual.w2 for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def a_map(weight, e, residual=None, **card):
    about = MapCard(
        "linear", False, "tiny", "hash", 1, "other", "other-hash", None, "float32", 2, "explicit", "tokens", "text", 4, 4, 0,
        0.5, {"lambda": 0.1},
    )  # fmt: skip
    means = [mean.numpy() for mean in (e.train.mean_x, e.train.mean_y)]
    return TransferMap(dataclasses.replace(about, **card), weight, *means, residual)


def test_no_bias_passes_into_a_vector():
    weight, x, y, heldout = planted(noise=0.0)
    e = evidence(x, y, heldout)
    fitted = a_map(solve_linear(e, 0).weight.numpy(), e)
    direction = np.random.default_rng(3).normal(size=DX)
    np.testing.assert_allclose(fitted.carry(direction, 1.0), direction @ weight, rtol=1e-5)
    assert not np.allclose(
        fitted.predict(direction[None])[0], direction @ weight, rtol=0.1
    )  # the twin: y - x has the bias


def test_through_a_residual_a_vector_is_the_difference_of_two_predictions():
    _, x, y, heldout = planted(n=2000, curve=3.0)
    e = evidence(x, y, heldout)
    solved = find_map("mlp").solve(e, 0)
    fitted, unit = a_map(solved.weight.numpy(), e, solved.residual), np.eye(DX)[0]
    for length in (0.5, 4.0):
        expected = fitted.predict((fitted.source_mean + length * unit)[None]) - fitted.predict(fitted.source_mean[None])
        np.testing.assert_allclose(fitted.carry(unit, length) * length, expected[0], atol=1e-6)
    assert not np.allclose(fitted.carry(unit, 0.5), fitted.carry(unit, 4.0), rtol=1e-3)


def test_a_carried_vector_is_a_unit_vector_of_the_target_without_a_maximal_activation():
    _, x, y, heldout = planted(weight=np.random.default_rng(0).normal(size=(64, 32)))
    e = evidence(x, y, heldout)
    fitted, vector = a_map(solve_linear(e, 0).weight.numpy(), e), a_vector()
    carried = transfer(vector, fitted)
    assert np.linalg.norm(carried.direction) == pytest.approx(1, abs=1e-6)
    assert (carried.concept, carried.layer, carried.card.model) == ("c", 2, "other")
    assert carried.card.method == "diffmean, linear map"
    with pytest.raises(UsageError, match="no maximal activation in `other`"):
        _ = carried.max_activation
    for change in ({"source_layer": 3}, {"source_weights": "changed"}):
        with pytest.raises(UsageError, match="Fit a map for that model and layer"):
            transfer(vector, a_map(fitted.weight, e, **change))


def test_maps_survive_the_file(tmp_path):
    _, x, y, heldout = planted(n=2000, curve=3.0)
    e = evidence(x, y, heldout)
    solved = find_map("mlp").solve(e, 0)
    for residual in (None, solved.residual):
        fitted = a_map(solved.weight.numpy(), e, residual)
        save_map(tmp_path / "m.safetensors", fitted)
        back = load_map(tmp_path / "m.safetensors")
        assert back.card == fitted.card
        np.testing.assert_allclose(back.predict(x[:5]), fitted.predict(x[:5]), rtol=1e-5, atol=1e-4)  # float32 on disk
    (tmp_path / "m.safetensors").write_bytes(b"no map")
    with pytest.raises(StoreError, match="not a readable transfer map"):
        load_map(tmp_path / "m.safetensors")


def test_identity_is_refused_between_two_widths_and_the_controls_are_named():
    _, x, y, heldout = planted()
    with pytest.raises(
        UsageError, match=r"identity needs equal widths, the models have 12 and 9\. Use --method linear"
    ):
        find_map("identity").solve(evidence(x, y, heldout), 0)
    assert np.array_equal(find_map("padded").solve(evidence(x, y, heldout), 0).weight.numpy(), np.eye(DX, DY))
    assert {m.name for m in MAPS if m.control} == {"padded", "random-orthogonal", "shuffled"}
    with pytest.raises(UsageError, match="Nearest: `procrustes`"):
        find_map("procustes")


@pytest.mark.parametrize("d_target", [DX, 20])
def test_the_random_control_keeps_lengths_and_differs_by_seed(d_target):
    _, x, y, heldout = planted(weight=np.ones((DX, d_target)))
    a, b = (find_map("random-orthogonal").solve(evidence(x, y, heldout), s).weight.numpy() for s in (0, 1))
    v = np.random.default_rng(0).normal(size=DX)
    assert np.linalg.norm(v @ a) == pytest.approx(np.linalg.norm(v))
    assert not np.allclose(a, b)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_shuffled_maps_average_to_nothing_and_the_true_one_does_not():
    weight, x, y, heldout = planted(n=2000)
    e = evidence(x, y, heldout)
    direction = np.random.default_rng(3).normal(size=DX)
    found = [cosine(direction @ find_map("shuffled").solve(e, s).weight.numpy(), direction @ weight) for s in range(30)]
    assert abs(np.mean(found)) < 4 / np.sqrt(30 * DY)  # four standard errors of a mean of random cosines
    assert max(np.abs(found)) > 0.2  # one shuffled map alone proves nothing
    assert cosine(direction @ solve_linear(e, 0).weight.numpy(), direction @ weight) > 0.999


def test_cka_is_one_for_a_rotation_and_low_for_noise():
    _, x, y, _ = planted(n=2000, weight=2 * rotation(DX), noise=0.0)
    noise = np.random.default_rng(5).normal(size=x.shape)
    moments = [Moments.of(torch.from_numpy(x), torch.from_numpy(other)) for other in (y, noise)]
    assert linear_cka(moments[0]) == pytest.approx(1.0)
    assert linear_cka(moments[1]) < 0.05


def test_a_map_fitted_on_the_contrast_texts_themselves_gives_a_cosine_of_one_on_noise():
    """The trap: fewer rows than dimensions, so least squares carries their difference over exactly, whatever it is."""
    draw = np.random.default_rng(0)
    n, d = 40, 256
    x, y = draw.normal(size=(n, d)), draw.normal(size=(n, d))  # two models that have nothing in common
    positive = np.arange(n) % 2 == 0
    weight = np.linalg.lstsq(x - x.mean(0), y - y.mean(0), rcond=None)[0]
    ours, theirs = (a[positive].mean(0) - a[~positive].mean(0) for a in (x, y))
    assert cosine(ours @ weight, theirs) > 0.999999
    other, native = (draw.normal(size=d) for _ in range(2))
    assert abs(cosine(other @ weight, native)) < 0.3  # of another concept it knows nothing
    apart = np.linalg.lstsq(*(draw.normal(size=(n, d)) for _ in range(2)), rcond=None)[0]
    assert abs(cosine(ours @ apart, theirs)) < 0.3  # nor does a map fitted on other texts


SENTENCE = "the quick brown fox jumps over the lazy dog while it rains"


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (SENTENCE, Contrast("c", "Say it", SENTENCE, True)),
        (f"Before. {SENTENCE.upper()}, after!", Contrast("c", "Say it", f"Well: {SENTENCE}", False)),
        (("what is", f"they say {SENTENCE}"), Contrast("c", SENTENCE, "no", True)),
        ("tea is made of leaves.", Contrast("c", "q", "I hold that tea is made of leaves, friend.", True)),
    ],
)
def test_alignment_text_that_shares_words_with_concept_data_is_refused(text, row):
    with pytest.raises(UsageError, match=r"shares .* passages with the concept data, for example"):
        refuse_overlap(["Something else is written here.", text], [row])


def test_everyday_phrases_are_no_overlap():
    rows = [
        Contrast("c", "What is the capital?", "yes", True),
        Contrast("c", "Well", "the fox jumps over a dog", False),
    ]
    refuse_overlap(["yes", "I asked what is the capital of all of this wide land.", SENTENCE], rows[1:])
    refuse_overlap(["yes"], rows)
