"""Directions out into other programs' files and back: read by independent readers, refused where they would have to be executed."""

import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import skops.io
import tiny_models
import torch

from probeshift import open_probe
from probeshift.errors import MissingError, UsageError
from probeshift.exchange import FORMATS, to_sklearn
from probeshift.exchange import gguf_vectors as gguf_module
from probeshift.results import ProbeCard, ProbeFile, read_probes, write_probes

LAYERS = (1, 3, 4)
D = 16
ONE_LAYER = [f.name for f in FORMATS if f.one_layer]
SUFFIX = {f.name: f.suffix for f in FORMATS}


def card(**changes):
    fields = {
        "fit_id": "f", "method": "dim", "source": "s", "model": "toy", "model_weights": "w" * 64, "dtype": "float32",
        "train": "cities", "family": "facts", "position": "last", "layers": LAYERS, "n_rows": 8, "n_questions": 4, "seed": 0,
        "layer_seeds": (5, 6, 7), "sign": "fitted", "threshold": "midpoint", "control": False, "flipped": (False, True, False),
        "failures": (None,) * 3,
    }  # fmt: skip
    return ProbeCard(**{**fields, **changes})


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def probes():
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(len(LAYERS), D)).astype(np.float32)
    made = ProbeFile(card(), directions, np.array([0.1, -2.0, 1 / 3]))
    write_probes(Path("probe.safetensors"), made)
    return made


def exported(run, name, layer=3, probe="probe.safetensors", *more):
    target = f"out/Dim{SUFFIX[name]}"
    at = ("--layer", layer) if layer is not None else ()
    code, out, err = run("export", "--probe", probe, "--to", name, "--output", target, *at, *more)
    assert code == 0, err
    return Path(out.strip())


def imported(run, name, file, *more):
    code, out, err = run("import", "--file", file, "--from", name, "--output", "back.safetensors", *more)
    assert code == 0, err
    return read_probes(Path(out.strip()))


@pytest.mark.parametrize("name", SUFFIX)
def test_one_layer_comes_back_as_it_went(run, probes, name):
    back = imported(run, name, exported(run, name))
    np.testing.assert_array_equal(back.directions, probes.directions[1:2])
    assert back.biases.tolist() == [-2.0]
    assert back.card == replace(probes.card, layers=(3,), layer_seeds=(6,), flipped=(True,), failures=(None,))


@pytest.mark.parametrize("name", sorted(set(SUFFIX) - set(ONE_LAYER)))
def test_all_layers_come_back_as_they_went(run, probes, name):
    back = imported(run, name, exported(run, name, None))
    np.testing.assert_array_equal(back.directions, probes.directions)
    np.testing.assert_array_equal(back.biases, probes.biases)
    assert back.card == probes.card


@pytest.mark.parametrize("name", ONE_LAYER)
def test_a_format_of_one_layer_asks_which(run, probes, name):
    code, _, err = run("export", "--probe", "probe.safetensors", "--to", name, "--output", f"x{SUFFIX[name]}")
    assert code == 2 and "--layer" in err


@pytest.mark.parametrize("name", SUFFIX)
def test_every_exported_file_says_model_layer_site_sign_and_threshold(run, probes, name):
    path = exported(run, name)
    raw = b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))
    if name == "sklearn":
        raw = json.dumps(skops.io.load(path, trusted=[]).probeshift_card_).encode()
    text = raw.replace(b"\x00", b"").decode("utf-8", errors="ignore").replace("\\", "")
    if name == "npz":
        text = str(np.load(path)["card"])
    for fact in (
        "toy",
        '"layer": 3',
        "residual stream after block 3 (0-based)",
        "larger: truer",
        "score > 0 (midpoint)",
    ):
        assert fact in text, fact


def test_the_gguf_package_reads_the_control_vector(run, probes):
    reader = gguf.GGUFReader(exported(run, "gguf", None, "probe.safetensors", "--model-hint", "llama"))
    found = {t.name: np.array(t.data) for t in reader.tensors}
    assert set(found) == {f"direction.{layer}" for layer in LAYERS}
    for layer, direction in zip(LAYERS, probes.directions, strict=True):
        assert found[f"direction.{layer}"].dtype == np.float32
        np.testing.assert_array_equal(found[f"direction.{layer}"], direction)
    text = {
        k: bytes(reader.get_field(k).parts[-1]).decode() for k in ("general.architecture", "controlvector.model_hint")
    }
    assert text == {"general.architecture": "controlvector", "controlvector.model_hint": "llama"}
    assert int(reader.get_field("controlvector.layer_count").parts[-1][0]) == len(LAYERS)


def test_block_0_has_no_place_in_a_control_vector(run, probes):
    write_probes(Path("zero.safetensors"), replace(probes, card=card(layers=(0, 3, 4))))
    code, _, err = run("export", "--probe", "zero.safetensors", "--layer", 0, "--to", "gguf", "--output", "x.gguf")
    assert code == 2 and "no place for layers before 1" in err
    assert imported(run, "gguf", exported(run, "gguf", None, "zero.safetensors")).card.layers == (3, 4)


def test_a_control_vector_of_another_program_becomes_a_direction_without_threshold(run):
    directions = np.random.default_rng(1).normal(size=(2, D)).astype(np.float32)
    writer = gguf.GGUFWriter("theirs.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    for layer, direction in zip((7, 2), directions, strict=True):
        writer.add_tensor(f"direction.{layer}", direction)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    back = imported(run, "gguf", "theirs.gguf", "--position", "-1")
    assert back.card.layers == (2, 7) and back.card.model == "llama" and back.card.model_weights == "unknown"
    np.testing.assert_array_equal(back.directions, directions[::-1])
    saved = open_probe("back.safetensors", 7)
    assert not saved.decides and saved.about()["threshold"] is None


def test_a_named_model_on_this_machine_is_recorded_with_its_weights(run):
    from probeshift.models import describe, weight_hash

    folder = str(tiny_models.shared("llama"))
    np.savez("theirs.npz", directions=np.ones(tiny_models.D_MODEL), biases=np.array([0.5]))
    back = imported(run, "npz", "theirs.npz", "--model", folder, "--layer", 2)
    assert back.card.model_weights == weight_hash(describe(folder)) and back.card.layers == (2,)
    assert back.biases.tolist() == [0.5] and open_probe("back.safetensors").decides


def test_steering_vectors_gets_the_arguments_of_its_constructor(run, probes):
    content = torch.load(exported(run, "steering-vectors", None), weights_only=True)["vector"]
    assert set(content) == {"layer_activations", "layer_type"} and content["layer_type"] == "decoder_block"
    for layer, direction in zip(LAYERS, probes.directions, strict=True):
        np.testing.assert_array_equal(content["layer_activations"][layer].numpy(), direction)
    torch.save(content, "theirs.pt")
    assert imported(run, "steering-vectors", "theirs.pt", "--model", "toy").card.layers == LAYERS


def test_lm_eval_gets_a_hook_point_it_accepts(run, probes):
    path = exported(run, "lm-eval", 3, "probe.safetensors", "--strength", 4, "--hookpoint", "h.{layer}")
    ((name, entry),) = torch.load(path, weights_only=True).items()
    assert name == "h.3" and entry["action"] == "add" and entry["bias"] is None and entry["head_index"] is None
    np.testing.assert_array_equal(
        entry["steering_vector"].numpy() * entry["steering_coefficient"], 4 * probes.directions[1]
    )


def test_rows_of_axbench_are_probes_by_concept(run):
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(3, D, generator=generator).to(torch.bfloat16), torch.tensor([0.0, 1.0, -1.0])
    torch.save(weight, "DiffMean_weight.pt")
    torch.save(bias, "DiffMean_bias.pt")
    concepts = ["terms of law", "verbs/ing", "x"]
    Path("metadata.jsonl").write_text(
        "".join(json.dumps({"concept_id": i, "concept": c}) + "\n" for i, c in enumerate(concepts))
    )
    args = ("--file", "DiffMean_weight.pt", "--from", "axbench", "--model", "toy", "--output", "ax")
    code, _, err = run("import", *args)
    assert code == 2 and "Name it with --layer" in err
    code, out, err = run("import", *args, "--layer", 20)
    assert code == 0, err
    paths = [Path(line) for line in out.split()]
    assert [p.name for p in paths] == ["0-terms-of-law.safetensors", "1-verbs-ing.safetensors", "2-x.safetensors"]
    for i, path in enumerate(paths):
        found = read_probes(path)
        assert (
            found.card.layers == (20,) and found.card.method == "diffmean" and found.biases.tolist() == [float(bias[i])]
        )
        np.testing.assert_array_equal(found.directions[0], weight[i].float().numpy())


def test_axbench_gets_its_two_matrices(run, probes):
    path = exported(run, "axbench")
    assert torch.load(path, weights_only=True).shape == (1, D)
    assert torch.load(path.with_name("Dim_bias.pt"), weights_only=True).tolist() == [-2.0]


@pytest.mark.parametrize(("method", "kind"), [("lr", "LogisticRegression"), ("dim", "RidgeClassifier")])
def test_the_pipeline_gives_the_scores_and_probabilities_only_where_they_are_some(run, probes, method, kind):
    write_probes(Path("m.safetensors"), replace(probes, card=card(method=method)))
    pipeline = skops.io.load(exported(run, "sklearn", 3, "m.safetensors"), trusted=[])
    acts = np.random.default_rng(2).normal(size=(20, D)).astype(np.float32)
    saved = open_probe("m.safetensors", 3)
    np.testing.assert_allclose(pipeline.decision_function(acts), saved.probe.score(acts), rtol=1e-6)
    np.testing.assert_array_equal(pipeline.predict(acts).astype(bool), saved.probe.score(acts) > 0)
    assert type(pipeline[-1]).__name__ == kind and hasattr(pipeline, "predict_proba") == (method == "lr")
    if method == "lr":
        np.testing.assert_allclose(
            pipeline.predict_proba(acts)[:, 1], 1 / (1 + np.exp(-saved.probe.score(acts))), rtol=1e-6
        )


def test_a_regression_pipeline_predicts_numbers(probes):
    pipeline = to_sklearn(replace(probes, card=card(method="ridge", task="regression")), 3)
    acts = np.random.default_rng(2).normal(size=(20, D))
    np.testing.assert_allclose(pipeline.predict(acts), acts @ probes.directions[1] - 2.0, rtol=1e-5)


def test_a_scikit_learn_model_of_their_own_comes_in_and_a_scaled_one_is_refused(run):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(3)
    acts = generator.normal(size=(60, D))
    labels = acts[:, 0] > 0
    plain = LogisticRegression().fit(acts, labels)
    skops.io.dump(plain, "plain.skops")
    imported(run, "sklearn", "plain.skops", "--model", "toy", "--layer", 2)
    saved = open_probe("back.safetensors")
    assert saved.meaning == "log odds"
    np.testing.assert_allclose(saved.probe.score(acts), plain.decision_function(acts), rtol=1e-4, atol=1e-5)
    skops.io.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(acts, labels), "scaled.skops")
    code, _, err = run(
        "import",
        "--file",
        "scaled.skops",
        "--from",
        "sklearn",
        "--model",
        "toy",
        "--layer",
        2,
        "--output",
        "x.safetensors",
    )
    assert code == 2 and "Fold scaling" in err


def test_vectors_written_by_crossdata_and_by_its_predecessor_come_in(run, probes):
    from probeshift.results import ResultFolder

    path = ResultFolder(Path("results")).write_vectors([probes])
    back = imported(run, "probe-vectors", path)
    np.testing.assert_allclose(back.directions, probes.directions, rtol=1e-5)  # six digits
    np.testing.assert_array_equal(back.biases, probes.biases)
    assert (back.card.model, back.card.train, back.card.method, back.card.layers) == ("toy", "cities", "dim", LAYERS)


def test_the_chosen_probe_of_a_document_needs_its_layer_told_where_it_has_none(run):
    content = {
        "best_position": -1,
        "best_layer": 5,
        "probe_weights": [0.5] * D,
        "probe_bias": 0.25,
        "task_type": "regression",
    }
    Path("best.json").write_text(json.dumps(content))
    args = ("--file", "best.json", "--from", "best-probe", "--model", "toy", "--output", "b.safetensors")
    code, _, err = run("import", *args)
    assert code == 2 and "--layer" in err
    assert run("import", *args, "--layer", 4)[0] == 0
    saved = open_probe("b.safetensors")
    assert (saved.probe.layer, saved.meaning, saved.probe.bias) == (4, "value", 0.25)


class Bomb:
    def __reduce__(self):
        return (Path("exploded").touch, ())


@pytest.mark.parametrize("name", ["steering-vectors", "lm-eval", "axbench"])
def test_a_pickle_is_never_run(run, name):
    file = f"bomb{SUFFIX[name]}"
    torch.save({"layer_activations": {1: Bomb()}}, file)
    code, _, err = run("import", "--file", file, "--from", name, "--model", "toy", "--output", "x.safetensors")
    assert code == 2 and "pickled objects can run code" in err and not Path("exploded").exists()
    torch.load(file, weights_only=False)
    assert Path("exploded").exists(), "the twin: read carelessly, it does run"


@pytest.mark.parametrize("name", ["npz", "sklearn"])
def test_pickles_under_another_name_are_refused(run, name):
    file = Path(f"bomb{SUFFIX[name]}")
    file.write_bytes(pickle.dumps(Bomb()))
    code, _, err = run("import", "--file", file, "--from", name, "--model", "toy", "--output", "x.safetensors")
    assert code == 2 and not Path("exploded").exists(), err


def test_object_arrays_are_refused(run):
    np.savez("objects.npz", directions=np.array([Bomb()], dtype=object))
    code, _, err = run(
        "import", "--file", "objects.npz", "--from", "npz", "--model", "toy", "--output", "x.safetensors"
    )
    assert code == 2 and not Path("exploded").exists(), err


def test_a_file_that_was_changed_after_export_is_noticed(run, probes):
    path = exported(run, "npz", None)
    with np.load(path) as file:
        arrays = {k: file[k] for k in file.files}
    arrays["layers"] = arrays["layers"] + 1
    np.savez(path, **arrays)
    code, _, err = run("import", "--file", path, "--from", "npz", "--output", "x.safetensors")
    assert code == 2 and "was changed" in err


@pytest.mark.parametrize("name", SUFFIX)
def test_a_file_of_another_kind_is_named(run, name):
    file = Path(f"junk{SUFFIX[name]}")
    file.write_bytes(b"neither this nor that\n" * 20)
    code, _, err = run(
        "import", "--file", file, "--from", name, "--model", "toy", "--layer", 1, "--output", "x.safetensors"
    )
    assert code == 2 and file.name in err


def test_a_missing_package_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r'pip install "probeshift\[exchange\]"'):
        gguf_module.GGUF.require()


def test_an_unknown_format_gets_the_nearest_name(run, probes):
    code, _, err = run("export", "--probe", "probe.safetensors", "--to", "ggfu", "--output", "x.gguf")
    assert code == 2 and "`gguf`" in err


def test_a_failed_fit_is_not_exported(run, probes):
    failed = replace(probes, card=card(failures=(None, "not converged", None)))
    write_probes(Path("failed.safetensors"), failed)
    code, _, err = run("export", "--probe", "failed.safetensors", "--to", "npz", "--layer", 3, "--output", "x.npz")
    assert code == 2 and "not converged" in err
    assert imported(run, "npz", exported(run, "npz", None, "failed.safetensors")).card.layers == (1, 4)


def test_a_steering_vector_goes_out_without_a_threshold_and_with_its_unit(run):
    from probeshift.steering.vectors import VectorCard, normalised, save_vectors

    def vector(concept, seed):
        about = VectorCard(
            concept=concept, method="diffmean", model="toy", weights="w", revision=None, dtype="float32", layer=3, tokens="all",
            pooling="token", norm=0.0, n_positive=4, n_negative=4, data="d",
        )  # fmt: skip
        return normalised(np.random.default_rng(seed).normal(size=D), about).measured(12.5, 8)

    save_vectors(Path("vectors.safetensors"), [vector("honesty", 0), vector("law", 1)])
    back = imported(run, "gguf", exported(run, "gguf", None, "vectors.safetensors", "--concept", "law"))
    np.testing.assert_array_equal(back.directions[0], vector("law", 1).direction)
    assert "12.5" in back.card.source and not open_probe("back.safetensors").decides
    code, _, err = run("export", "--probe", "vectors.safetensors", "--to", "gguf", "--output", "x.gguf")
    assert code == 2 and "--concept" in err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "regression", "threshold": "none"}, "larger: a larger predicted label"),
        ({"method": "lr"}, "larger: the label more likely true"),
        ({"family": "vectors", "sign": "positive strength: towards the concept"}, "towards the concept"),
    ],
)
def test_what_a_larger_score_means_is_said_of_the_probe_at_hand(run, probes, changes, said):
    write_probes(Path("other.safetensors"), replace(probes, card=card(**changes)))
    code, _, err = run("export", "--probe", "other.safetensors", "--to", "npz", "--output", "other.npz")
    assert code == 0 and said in err and "truer" not in err
    assert said in json.loads(str(np.load("other.npz")["card"]))["sign"]


def test_layers_that_a_file_has_no_place_for_are_not_among_those_said(run, probes):
    write_probes(Path("zero.safetensors"), replace(probes, card=card(layers=(0, 3, 4))))
    _, _, err = run("export", "--probe", "zero.safetensors", "--to", "gguf", "--output", "x.gguf")
    assert "layers 3, 4 of" in err


def test_a_single_array_is_no_archive(run):
    np.save("one.npy", np.ones(4))
    Path("one.npy").rename("one.npz")
    code, _, err = run("import", "--file", "one.npz", "--from", "npz", "--model", "toy", "--output", "x.safetensors")
    assert code == 2 and "not an .npz file" in err


def test_an_imported_direction_steers(run, probes):
    from probeshift.steering.probe_vectors import saved_probe_vector

    imported(run, "gguf", exported(run, "gguf"))
    vector = saved_probe_vector(Path("back.safetensors"))
    np.testing.assert_allclose(vector.direction, probes.directions[1] / np.linalg.norm(probes.directions[1]), rtol=1e-6)
    assert vector.layer == 3


def test_every_format_is_on_the_page():
    page = (Path(__file__).parents[1] / "docs" / "exchange.md").read_text()
    assert [f.name for f in FORMATS if f"| `{f.name}` |" not in page] == []
    assert asdict(card())["model"] == "toy"


def test_an_exported_probe_is_scored_after_import(run, probes):
    with pytest.raises(UsageError, match="layers"):
        open_probe("probe.safetensors")
    imported(run, "gguf", exported(run, "gguf"))
    assert open_probe("back.safetensors").probe.bias == -2.0, (
        "the bias, which the format has no place for, is in the card"
    )
