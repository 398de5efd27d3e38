"""Layers as people write them, and the published models' reference layers."""

import pytest

from probeshift.errors import UsageError
from probeshift.layers import layer_at_depth, parse_layers, sampled_layers

# blocks of Qwen3-4B/8B, Qwen3-14B and Llama-2-13B, Llama-2-7B, Llama-2-70B, and the layer their study evaluates
PUBLISHED = [(36, 27), (40, 30), (32, 24), (80, 60)]


@pytest.mark.parametrize(("n_layers", "reference"), PUBLISHED)
def test_three_quarters_of_the_depth_is_the_published_layer(n_layers, reference):
    assert layer_at_depth(n_layers, 0.75) == reference
    assert parse_layers("0.75", n_layers) == (reference,)


@pytest.mark.parametrize(("n_layers", "reference"), PUBLISHED)
@pytest.mark.parametrize("skip", [1, 2, 3, 4])
def test_sampling_always_contains_the_reference_layer(n_layers, reference, skip):
    assert reference in sampled_layers(n_layers, skip)


def test_every_second_of_36_layers_is_18_layers():
    assert sampled_layers(36, 2) == tuple(range(1, 36, 2))


def test_a_fixed_phase_would_miss_it():
    """The twin: what starting every model at layer 1 would have stored."""
    assert 30 not in range(1, 40, 2) and 24 not in range(1, 32, 2)


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("all", tuple(range(8))),
        ("-1", (7,)),
        ("2,5", (2, 5)),
        ("0:8:3", (0, 3, 6)),
        ("0.5, -1", (4, 7)),
        ("1.0", (7,)),
        ("6:", (6, 7)),
    ],
)
def test_layers_are_read_as_written(text, layers):
    assert parse_layers(text, 8) == layers


def test_fractions_do_not_fall_through_rounding():
    assert layer_at_depth(100, 0.29) == 29


@pytest.mark.parametrize("text", ["8", "-9", "top", "", "1:x", "2.5", "0.5.1"])
def test_layers_that_are_not_there_are_refused(text):
    with pytest.raises(UsageError):
        parse_layers(text, 8)
