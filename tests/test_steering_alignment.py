"""Which tokens of two models belong together, and maps fitted on them between tiny models with a known answer."""

import dataclasses

import numpy as np
import pytest
import tiny_models
import torch

from probeshift.datasets import FACTS_DATASETS, load_dataset
from probeshift.errors import UsageError
from probeshift.models import load_model
from probeshift.models.rotation import random_rotation, save_rotated
from probeshift.steering.contrasts import Contrast
from probeshift.steering.diffmean import diffmean, with_max_activations
from probeshift.steering.generation import Decoding, generate
from probeshift.steering.interventions import Intervention
from probeshift.steering.maps import MAPS, find_map
from probeshift.steering.maps.alignment import align
from probeshift.steering.maps.evidence import evidence_of, gather
from probeshift.steering.maps.fitting import fit_maps
from probeshift.steering.maps.layers import relative_layer, sweep_layers
from probeshift.steering.maps.transfer_map import transfer

TEXTS = tuple(s.text for name in FACTS_DATASETS[:2] for s in load_dataset(name).statements[:40])
ROWS = [
    Contrast(concept, f"say something {i}", text, positive)
    for concept, mark in (("loud", "!!!"), ("asking", "??"))
    for i in range(6)
    for positive, text in ((True, f"water is wet {mark}"), (False, f"ice is cold and calm {i}"))
]


def load(folder):
    return load_model(str(folder), dtype="float32", device="cpu", check=False)


@pytest.fixture(scope="module")
def llama():
    return load(tiny_models.shared("llama"))


@pytest.fixture(scope="module")
def rotated(llama, tmp_path_factory):
    return load(save_rotated(llama, tmp_path_factory.mktemp("rotated"), random_rotation(64, 1)))


@pytest.fixture(scope="module")
def other_tokenizer(tmp_path_factory):
    """The same weights behind a tokenizer that knows no merged words: every byte is a token."""
    model = load(tiny_models.build("gpt_neox", tmp_path_factory.mktemp("other")))
    backend = model.tokenizer.backend_tokenizer
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    spec = json.loads(backend.to_str())
    spec["model"]["merges"] = []
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(spec)), eos_token="<|im_end|>")
    plain.chat_template = model.tokenizer.chat_template
    return dataclasses.replace(model, tokenizer=plain)


def words(model, encoded, places):
    return [model.tokenizer.decode([encoded.ids[p]]) for p in places]


def test_one_tokenizer_pairs_every_token_with_itself(llama, rotated):
    alignment = align(llama, rotated, TEXTS)
    assert alignment.pairing == "tokens"
    for text in alignment.texts:
        assert text.source_places == text.target_places == tuple(range(1, len(text.source.ids)))  # all but the first


def test_two_tokenizers_pair_tokens_that_end_at_the_same_character(llama, other_tokenizer):
    alignment = align(llama, other_tokenizer, [*TEXTS, "naïve 日本 ends", *[f"{i} more" for i in range(9)]])
    assert alignment.pairing == "offsets"
    for text in alignment.texts:
        ends = dict(zip(text.source.read, text.source.ends, strict=True))
        theirs = dict(zip(text.target.read, text.target.ends, strict=True))
        assert [ends[p] for p in text.source_places] == [theirs[p] for p in text.target_places]
        assert len(text.target_places) <= len(text.source.read) < len(text.target.read)
    assert 0 < len(alignment.texts[0].source_places)


def test_a_beginning_of_text_and_the_template_are_never_paired(llama):
    gemma = load(tiny_models.shared("gemma2"))
    alignment = align(llama, gemma, [*TEXTS[:30], ("what is wet", "water is wet"), ("what is hot", "fire is hot")])
    assert alignment.pairing == "offsets"
    assert all(0 not in text.target_places for text in alignment.texts)
    answers = [t for t in alignment.texts if len(t.source.ids) > len(t.source.read) + 3]
    assert {"".join(words(llama, t.source, t.source_places)) for t in answers} == {"water is wet", "fire is hot"}


def test_texts_can_be_paired_by_their_means(llama, other_tokenizer):
    alignment = align(llama, other_tokenizer, TEXTS, pairing="texts")
    assert alignment.n_pairs(heldout=True) + alignment.n_pairs(heldout=False) == len(set(TEXTS))
    batch = next(iter(alignment.read([1], [2])))
    first = alignment.texts[0]
    with torch.inference_mode():
        hidden = llama.backbone(torch.tensor([first.source.ids]), output_hidden_states=True).hidden_states[2][0]
    torch.testing.assert_close(batch.source[1][0], hidden[1:].mean(0), atol=1e-3, rtol=1e-3)


def test_pairs_that_cannot_be_are_refused(llama, other_tokenizer):
    with pytest.raises(UsageError, match="different tokenizers, so tokens cannot be paired one by one"):
        align(llama, other_tokenizer, TEXTS, pairing="tokens")
    with pytest.raises(UsageError, match="Nearest: `tokens`"):
        align(llama, other_tokenizer, TEXTS, pairing="token")
    with pytest.raises(UsageError, match="too few to fit a map"):
        align(llama, llama, TEXTS[:2])


def test_streamed_evidence_is_that_of_all_activations_at_once(llama, other_tokenizer):
    alignment = align(llama, other_tokenizer, TEXTS)
    streamed = gather(alignment, 1, [0, 2], sample_pairs=50)
    batches = list(alignment.read([1], [2]))
    x, y = (torch.cat([getattr(b, side)[layer] for b in batches]) for side, layer in (("source", 1), ("target", 2)))
    whole = evidence_of(x, y, torch.cat([b.heldout for b in batches]))
    for part in ("train", "heldout"):
        ours, theirs = getattr(streamed[2], part), getattr(whole, part)
        assert ours.n == theirs.n == alignment.n_pairs(heldout=part == "heldout")
        torch.testing.assert_close(ours.xy, theirs.xy)
    sample = streamed[2].sample
    assert len(sample.x) == 50
    rows = [torch.nonzero((x == row).all(1)).flatten()[0] for row in sample.x]
    torch.testing.assert_close(y[torch.stack(rows)], sample.y)  # pairs stay pairs


def test_layers_go_to_the_same_relative_depth():
    assert [relative_layer(20, 26, n) for n in (26, 32, 42)] == [20, 25, 33]
    assert relative_layer(0, 30, 8) == 0 and relative_layer(29, 30, 8) == 7
    with pytest.raises(UsageError, match="the source has layers 0 to 25"):
        relative_layer(26, 26, 32)


@pytest.mark.parametrize("measure", ["cka", "r2"])
def test_a_sweep_finds_the_same_block_of_a_rotated_copy(llama, rotated, measure):
    alignment = align(llama, rotated, TEXTS)
    for layer in (0, 2):
        found = sweep_layers(alignment, layer, range(4), measure)
        assert found.best == layer
        assert found.scores[layer] == pytest.approx(1, abs=1e-3)
        assert all(score < 0.999 for other, score in found.scores.items() if other != layer)


def test_a_sweep_by_an_unknown_measure_is_refused(llama, rotated):
    with pytest.raises(UsageError, match="layer sweep `ckaa` is unknown"):
        sweep_layers(align(llama, rotated, TEXTS), 1, [1], "ckaa")


@pytest.fixture(scope="module")
def vectors(llama, rotated):
    """Both models' own vectors."""
    return [with_max_activations(m, diffmean(m, ROWS, [2])[2], ROWS) for m in (llama, rotated)]


@pytest.mark.parametrize("method", [m.name for m in MAPS if not m.control and m.name != "identity"])
def test_maps_to_a_rotated_copy_carry_vectors_onto_its_own(llama, rotated, vectors, method):
    (fitted,) = fit_maps(llama, rotated, TEXTS, [find_map(method)], source_layer=2, concept_rows=ROWS)
    ours, theirs = vectors
    for concept, vector in ours.items():
        carried = transfer(vector, fitted)
        assert carried.direction @ theirs[concept].direction > 0.99
        carried = with_max_activations(rotated, {concept: carried}, ROWS)[concept]
        assert carried.max_activation == pytest.approx(theirs[concept].max_activation, rel=0.02)
    assert fitted.card.r_squared > 0.99
    assert (fitted.card.layer_choice, fitted.card.target_layer, fitted.card.pairing) == ("relative depth", 2, "tokens")


def test_identity_and_controls_fail_where_the_known_answer_is_a_rotation(llama, rotated, vectors):
    methods = [find_map(name) for name in ("identity", "random-orthogonal", "shuffled")]
    ours, theirs = vectors
    seeds = range(12)
    fitted = fit_maps(llama, rotated, TEXTS, methods, source_layer=2, concept_rows=ROWS, seeds=seeds)
    for method in methods:
        cosines = [
            transfer(v, m).direction @ theirs[c].direction
            for m in fitted
            if m.card.method == method.name
            for c, v in ours.items()
        ]
        assert abs(np.mean(cosines)) < 0.25  # cosines of random directions in 64 dimensions spread by 0.125


def test_a_carried_vector_steers_like_the_native_one(llama, rotated, vectors):
    (fitted,) = fit_maps(llama, rotated, TEXTS, [find_map("linear")], source_layer=2, concept_rows=ROWS)
    ours, theirs = vectors
    prompts = [tuple(range(20, 20 + n)) for n in (5, 9, 7)]
    for concept, vector in ours.items():
        carried = with_max_activations(rotated, {concept: transfer(vector, fitted)}, ROWS)[concept]
        texts = [
            generate(rotated, prompts, [Intervention(v, 2.0)] * 3, decoding=Decoding(8))
            for v in (theirs[concept], carried)
        ]
        assert texts[0] == texts[1]
        assert texts[0] != generate(rotated, prompts, [None] * 3, decoding=Decoding(8))


def test_maps_between_widths_and_tokenizers_are_fitted_and_recorded(llama, other_tokenizer):
    (fitted,) = fit_maps(
        llama, other_tokenizer, TEXTS, [find_map("linear")], source_layer=2, target_layer="r2", concept_rows=ROWS
    )
    assert fitted.card.layer_choice.startswith("best of all 4 by held-out r2")
    assert fitted.card.pairing == "offsets"
    assert 0 < fitted.card.r_squared < 1
    assert fitted.card.n_train > fitted.card.n_heldout > 0


def test_overlap_and_layers_outside_are_refused_before_anything_is_read(llama, rotated):
    rows = [Contrast("c", "q", TEXTS[3] + " And so on it goes with many words.", True)]
    with pytest.raises(UsageError, match="shares"):
        fit_maps(llama, rotated, TEXTS, [find_map("linear")], source_layer=2, concept_rows=rows)
    with pytest.raises(UsageError, match="the source has layers 0 to 3"):
        fit_maps(llama, rotated, TEXTS, [find_map("linear")], source_layer=4, concept_rows=ROWS)
    with pytest.raises(UsageError, match=r"layers \[9\]"):
        fit_maps(llama, rotated, TEXTS, [find_map("linear")], source_layer=2, target_layer=9, concept_rows=ROWS)
