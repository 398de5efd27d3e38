"""Units of strength that cannot be measured, cosines without what concepts share, and detection."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_models
from test_steering_vectors import ROWS

from probeshift.models import load_model
from probeshift.steering.contrasts import make_encoder
from probeshift.steering.detection import row_projections
from probeshift.steering.diffmean import diffmean, highest_projections, with_max_activations
from probeshift.steering.forward import read_hidden
from probeshift.steering.geometry import closeness
from probeshift.steering.units import MAXIMAL_ACTIVATION, MEAN_NORM, unit_rule, with_units


@pytest.fixture(scope="module")
def model():
    return load_model(str(tiny_models.shared("llama")), dtype="float32", device="cpu", check=False)


@pytest.fixture(scope="module")
def vectors(model):
    return list(diffmean(model, ROWS, [1])[1].values())


def test_units_that_can_be_measured_are_the_maximal_activations(model, vectors):
    found = with_units(model, vectors, ROWS)
    expected = with_max_activations(model, {v.concept: v for v in vectors}, ROWS)
    assert [v.max_activation for v in found] == [expected[v.concept].max_activation for v in vectors]
    assert {unit_rule(v) for v in found} == {MAXIMAL_ACTIVATION}


def test_a_vector_that_no_token_points_along_gets_the_mean_norm_and_says_so(model, vectors):
    # By least squares all projections on it are about -1.
    encoder, own = make_encoder(model.tokenizer), [r for r in ROWS if r.concept == vectors[0].concept]
    encoded = [encoder.encode(r.prompt, r.response) for r in own]
    tokens = np.concatenate(
        [
            hidden[1][place, list(encoded[row].read)].numpy()
            for batch, hidden in read_hidden(model, [e.ids for e in encoded], [1])
            for place, row in enumerate(batch)
        ]
    ).astype(np.float64)
    direction = np.linalg.lstsq(tokens, -np.ones(len(tokens)), rcond=None)[0]
    assert (tokens @ direction).max() < 0
    away = replace(vectors[0], direction=(direction / np.linalg.norm(direction)).astype(np.float32))
    assert highest_projections(model, [away], ROWS)[0][0] < 0
    (found,) = with_units(model, [away], ROWS)
    assert unit_rule(found) == MEAN_NORM
    assert found.max_activation == pytest.approx(np.linalg.norm(tokens, axis=1).mean(), rel=1e-4)


def test_projections_of_rows_are_those_of_each_row_alone(model, vectors):
    found = row_projections(model, vectors, ROWS)
    encoded = make_encoder(model.tokenizer).encode(ROWS[0].prompt, ROWS[0].response)
    ((_, hidden),) = read_hidden(model, [encoded.ids], [1])
    expected = (hidden[1][0, list(encoded.read)].double().numpy() @ vectors[0].direction.astype(np.float64)).max()
    assert found[0, 0] == pytest.approx(expected, rel=1e-5)


def test_taking_out_what_is_shared_leaves_random_vectors_unlike_where_subtracting_it_would_not():
    draw = np.random.default_rng(0)
    common = 3 * np.eye(200)[0]
    own = {str(i): draw.normal(size=200) / 14 for i in range(200)}
    other = {c: draw.normal(size=200) / 14 for c in own}
    specific = np.mean([one.cosine_specific for one in closeness(own, other, common).values()])
    subtracted = np.mean([np.corrcoef(own[c] - common, other[c] - common)[0, 1] for c in own])
    assert abs(specific) < 0.03  # spread of the mean of 200 cosines in 200 dimensions: 0.005
    assert subtracted > 0.5


def test_nothing_is_left_of_the_common_vector_itself():
    common = np.array([1.0, 0.0])
    found = closeness({"a": common}, {"a": np.array([0.6, 0.8])}, common)["a"]
    assert (found.cosine, found.cosine_specific) == (pytest.approx(0.6), None)


def test_the_rank_counts_native_vectors_at_least_as_close():
    native = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0])}
    ranks = {c: one.rank for c, one in closeness({"a": native["a"], "b": native["a"]}, native, None).items()}
    assert ranks == {"a": 1, "b": 2}
