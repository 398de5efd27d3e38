"""DiffMean, maximal activations, probes as vectors, and the file they live in."""

import dataclasses
import json

import numpy as np
import pytest
import tiny_models
import torch

from probeshift.errors import StoreError, UsageError
from probeshift.models import load_model, render_prompt, weight_hash
from probeshift.probes import LinearProbe
from probeshift.results import ProbeCard, ProbeFile, save_probes
from probeshift.steering.contrasts import Contrast, data_hash, make_encoder
from probeshift.steering.diffmean import diffmean, with_max_activations
from probeshift.steering.probe_vectors import measured_on_statements, probe_vector, saved_probe_vector
from probeshift.steering.vectors import find_vector, load_vectors, normalised, save_vectors

FAMILIES = ("llama", "gemma2", "gpt2", "gptj", "gpt_neox")
ANSWERS = {
    True: ("it is true", "yes, water is wet and ice is cold"),
    False: ("no", "the city of Lima is not in Norway"),
}
ROWS = [
    Contrast("truth", f"is this so {i}", text, kind) for kind, texts in ANSWERS.items() for i, text in enumerate(texts)
]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return load_model(str(tiny_models.shared(request.param)), dtype="float32", device="cpu", check=False)


@pytest.fixture(scope="module")
def llama():
    return load_model(str(tiny_models.shared("llama")), dtype="float32", device="cpu", check=False)


def naive_tokens(model, row, layer):
    """Response tokens of one row by itself, from the model's own hidden states; layers but the last."""
    before = render_prompt(model.tokenizer, row.prompt)
    found = model.tokenizer(before + row.response, add_special_tokens=False, return_offsets_mapping=True)
    with torch.inference_mode():
        hidden = model.backbone(torch.tensor([found.input_ids]), output_hidden_states=True).hidden_states[layer + 1][0]
    return hidden[[i for i, (_, end) in enumerate(found.offset_mapping) if end > len(before)]].double().numpy()


@pytest.mark.parametrize("pooling", ["token", "row"])
def test_diffmean_is_the_difference_of_the_class_means(model, pooling):
    vectors = diffmean(model, ROWS, [0, 2], pooling=pooling)
    for layer in (0, 2):
        means = []
        for kind in (True, False):
            own = [naive_tokens(model, row, layer) for row in ROWS if row.positive == kind]
            means.append(
                np.concatenate(own).mean(0) if pooling == "token" else np.mean([o.mean(0) for o in own], axis=0)
            )
        expected = means[0] - means[1]
        found = vectors[layer]["truth"]
        assert found.card.norm == pytest.approx(np.linalg.norm(expected), rel=1e-4)
        # float32 activations of padded and single rows differ in their last bits
        np.testing.assert_allclose(found.direction, expected / np.linalg.norm(expected), atol=1e-4)


def test_pooling_by_token_and_by_row_differ_where_rows_have_different_lengths(llama):
    by_token, by_row = (diffmean(llama, ROWS, [1], pooling=p)[1]["truth"].direction for p in ("token", "row"))
    assert by_token @ by_row < 0.999


def test_the_last_token_alone_can_be_read(llama):
    found = diffmean(llama, ROWS, [1], tokens="last")[1]["truth"]
    ends = {k: np.mean([naive_tokens(llama, r, 1)[-1] for r in ROWS if r.positive == k], axis=0) for k in (True, False)}
    assert found.card.norm == pytest.approx(np.linalg.norm(ends[True] - ends[False]), rel=1e-4)


def test_swapping_positives_and_negatives_turns_the_vector_round(llama):
    swapped = [dataclasses.replace(row, positive=not row.positive) for row in ROWS]
    a, b = diffmean(llama, ROWS, [1])[1]["truth"], diffmean(llama, swapped, [1])[1]["truth"]
    np.testing.assert_allclose(a.direction, -b.direction, atol=1e-6)


def test_shared_negatives_are_read_once_and_count_for_every_concept(llama, monkeypatch):
    other = [dataclasses.replace(r, concept="other", response=r.response if not r.positive else "fire") for r in ROWS]
    read = []
    whole = type(llama.backbone).forward
    monkeypatch.setattr(
        type(llama.backbone),
        "forward",
        lambda self, *a, **k: (read.append(len(k["input_ids"])), whole(self, *a, **k))[1],
    )
    together = diffmean(llama, [*ROWS, *other], [1])[1]
    assert sum(read) == len(ROWS) + 2  # only the two positives of the second concept are new rows
    monkeypatch.undo()
    np.testing.assert_allclose(
        together["other"].direction, diffmean(llama, other, [1])[1]["other"].direction, atol=1e-5
    )


def test_the_maximal_activation_is_the_largest_projection_of_a_read_token(model):
    vector = diffmean(model, ROWS, [1])[1]["truth"]
    measured = with_max_activations(model, {"truth": vector}, ROWS)["truth"]
    naive = max((naive_tokens(model, row, 1) @ vector.direction.astype(float)).max() for row in ROWS)
    assert measured.max_activation == pytest.approx(naive, rel=1e-4)
    assert measured.card.max_activation_rows == len(ROWS)


def test_a_vector_no_token_points_at_has_no_unit_of_strength(llama):
    vector = diffmean(llama, ROWS, [1])[1]["truth"]
    with pytest.raises(UsageError, match="must be above 0"):
        vector.measured(-0.5, 3)
    with pytest.raises(UsageError, match="no maximal activation"):
        _ = vector.max_activation


def test_response_tokens_are_those_behind_the_template_and_base_models_read_plain_text(llama):
    chat, plain = make_encoder(llama.tokenizer), make_encoder(llama.tokenizer, chat=False)
    for encoder in (chat, plain):
        row = encoder.encode("is it hot ", "yes it is")
        text = llama.tokenizer.decode([row.ids[i] for i in row.read])
        assert text.lstrip() == "yes it is"  # a token that joins prompt and response has read the response
        assert row.ends[-1] == len("yes it is")
    everything = chat.encode("is it hot", "yes", "all")
    assert llama.tokenizer.decode([everything.ids[i] for i in everything.read]).startswith("is it hot")
    assert chat.encode("is it hot", "yes it is", "last").read == (len(chat.encode("is it hot", "yes it is").ids) - 1,)


def test_a_beginning_of_text_token_is_never_read():
    tokenizer = tiny_models.tokenizer(bos=True, chat=False)
    row = make_encoder(tokenizer).encode("", "water is wet", "all")
    assert row.ids[0] == tokenizer.bos_token_id and 0 not in row.read


def test_long_rows_are_cut_only_on_request_and_counted(llama):
    long = [dataclasses.replace(row, response=row.response * 12) for row in ROWS]
    cut = diffmean(llama, long, [1], encoder=make_encoder(llama.tokenizer, max_tokens=40))[1]["truth"]
    assert cut.card.truncated == 3  # all but "nonono..."
    with pytest.raises(UsageError, match="which reads 256"):
        diffmean(llama, [dataclasses.replace(row, response=row.response * 60) for row in ROWS], [1])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([r for r in ROWS if not r.positive], "concept `truth` has no positives"),
        ([r for r in ROWS if r.positive], "concept `truth` has no negatives"),
        ([], "no rows"),
        ([dataclasses.replace(ROWS[0], response=""), *ROWS[1:]], "no token of the row"),
        ([dataclasses.replace(r, response="yes") for r in ROWS], "is zero: both classes have the same mean"),
    ],
)
def test_rows_that_make_no_vector_are_refused(llama, rows, message):
    with pytest.raises(UsageError, match=message):
        diffmean(llama, rows, [1])


def test_layers_outside_the_model_and_encoders_are_refused(llama):
    with pytest.raises(UsageError, match=r"layers \[4\] asked"):
        diffmean(llama, ROWS, [4])
    bert = load_model(str(tiny_models.shared("bert")), dtype="float32", device="cpu", check=False)
    with pytest.raises(UsageError, match="causal language model"):
        diffmean(bert, ROWS, [1], encoder=make_encoder(bert.tokenizer))


def test_directions_that_are_not_finite_are_refused(llama):
    card = diffmean(llama, ROWS, [1])[1]["truth"].card
    with pytest.raises(UsageError, match="is not finite"):
        normalised(np.full(64, np.nan), card)
    with pytest.raises(UsageError, match="is zero"):
        normalised(np.zeros(64), card)


def test_vectors_and_cards_survive_the_file(llama, tmp_path):
    other = [dataclasses.replace(row, concept="zweite/Ö", positive=not row.positive) for row in ROWS]
    vectors = diffmean(llama, [*ROWS, *other], [1])[1]
    measured = with_max_activations(llama, vectors, [*ROWS, *other])
    save_vectors(tmp_path / "v.safetensors", reversed(measured.values()))
    back = load_vectors(tmp_path / "v.safetensors")
    assert set(back) == set(measured)
    for concept, vector in measured.items():
        assert np.array_equal(back[concept].direction, vector.direction)
        assert back[concept].card == vector.card
    card = back["truth"].card
    assert (card.weights, card.layer, card.n_positive, card.n_negative) == (weight_hash(llama.info), 1, 2, 2)
    assert card.data == data_hash(list(reversed(ROWS))) != back["zweite/Ö"].card.data


def test_two_vectors_of_one_concept_and_foreign_files_are_refused(llama, tmp_path):
    from safetensors.numpy import save_file

    vector = diffmean(llama, ROWS, [1])[1]["truth"]
    with pytest.raises(UsageError, match="two vectors are called `truth`"):
        save_vectors(tmp_path / "v.safetensors", [vector, vector])
    save_file({"truth": vector.direction}, tmp_path / "bare.safetensors")
    (tmp_path / "text.safetensors").write_text(json.dumps({}))
    for name in ("bare", "text", "missing"):
        with pytest.raises(StoreError, match=name):
            load_vectors(tmp_path / f"{name}.safetensors")


def test_a_misspelt_concept_is_told_the_nearest_one(llama):
    vectors = diffmean(llama, ROWS, [1])[1]
    assert find_vector(vectors, None) is vectors["truth"]
    with pytest.raises(UsageError, match="Nearest: `truth`"):
        find_vector(vectors, "thruth")


def test_a_probe_becomes_a_vector_of_its_own_direction(llama, tmp_path):
    direction = np.arange(1, 65, dtype=np.float32)
    vector = probe_vector(LinearProbe(direction, 0.5, layer=2), llama, concept="mine")
    np.testing.assert_allclose(vector.direction * vector.card.norm, direction, rtol=1e-5)
    card = ProbeCard(
        "id", "lr", "source", "tiny", "hash", "float32", "cities", "facts", "last", (1, 2), 10, None, 0, (0, 0), "fitted",
        "here", False, (False, False), (None, "did not converge"),
    )  # fmt: skip
    save_probes(tmp_path, ProbeFile(card, np.stack([direction, direction]), np.zeros(2)))
    path = tmp_path / "probes" / "lr" / "cities.safetensors"
    saved = saved_probe_vector(path, 1)
    assert saved.concept == "lr-cities" and saved.layer == 1
    np.testing.assert_allclose(saved.direction, vector.direction)
    measured = measured_on_statements(llama, saved, ["water is wet", "ice is cold", "fire is hot"])
    assert measured.max_activation > 0
    with pytest.raises(UsageError, match="did not converge"):
        saved_probe_vector(path, 2)
    with pytest.raises(UsageError, match="layer 3 is not in"):
        saved_probe_vector(path, 3)


def test_a_vector_of_another_width_is_told_to_take_a_map(llama):
    vector = normalised(np.ones(32), diffmean(llama, ROWS, [1])[1]["truth"].card)
    with pytest.raises(UsageError, match=r"has width 32, .* has 64\. Carry it over with a transfer map"):
        with_max_activations(llama, {"truth": vector}, ROWS)
