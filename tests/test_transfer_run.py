"""`probeshift transfer` end to end on tiny random models: its files, its controls, its choices, and that it goes on."""

import json
import shutil
from functools import cache

import numpy as np
import pandas as pd
import pytest
import tiny_models
import transfer_study
import yaml

from probeshift.experiments.transfer import analysis, evaluate, writing
from probeshift.experiments.transfer.conditions import NATIVE
from probeshift.experiments.transfer.settings import TransferSettings
from probeshift.experiments.transfer.study import Study
from probeshift.experiments.transfer.vectors import load

CONTROLS = {"none", "prompted", "native", "random", "other concept", "mean vector", "shuffled"}


def opened(folder, on_progress=None, **changed):
    return Study.open(TransferSettings.model_validate(transfer_study.values(folder, **changed)), on_progress)


@cache
def finished(folder):
    study = opened(folder)
    evaluate.run(study)
    return study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study") / "results"


@pytest.fixture(scope="module")
def study(folder):
    return finished(folder)


def table(folder, name):
    return pd.read_parquet(folder / f"{name}.parquet")


def test_every_folder_of_the_document_is_filled(study, folder):
    for part in ("vectors", "transfer_models", "evaluation", "analysis"):
        assert any((folder / part).iterdir()), part
    names = {path.name for path in (folder / "transfer_models").iterdir()}
    assert {
        "one__two__linear.safetensors",
        "one__two__identity.safetensors",
        "one__two__shuffled-19.safetensors",
    } <= names


def test_every_control_stands_in_every_table(study, folder):
    conditions = table(folder, "analysis/conditions")
    for at in ("test", "equal side effect"):
        assert set(conditions[conditions["at"] == at]["condition"]) == CONTROLS | {"identity", "linear"}
    assert set(table(folder, "analysis/closeness")["condition"]) == CONTROLS - {"none", "prompted"} | {
        "identity",
        "linear",
    }


def test_strengths_are_chosen_on_selection_prompts_and_scores_come_from_others(study, folder):
    texts = table(folder, "evaluation/texts")
    prompts = {split: set(part["prompt"]) for split, part in texts.groupby("split")}
    assert prompts["selection"] == set(study.split.selection) and prompts["test"] == set(study.split.test)
    assert not prompts["selection"] & prompts["test"]
    steered = texts[(texts["split"] == "test") & texts["strength"].notna()]
    assert (steered.groupby(["condition", "seed", "concept"])["strength"].nunique() == 1).all()


def test_random_vectors_are_drawn_anew_for_every_concept_and_seed(study, folder):
    cosines = table(folder, "evaluation/cosines")
    drawn = cosines[cosines["condition"] == "random"]["cosine"]
    assert len(drawn) == 5 * len(transfer_study.EVALUATED) and drawn.nunique() == len(drawn)


def test_texts_at_equal_side_effect_have_it(study, folder):
    strengths = table(folder, "evaluation/strengths")
    equal = strengths[(strengths["at"] == "equal side effect") & strengths["strength"].notna()]
    assert len(equal)
    assert equal["kl_on_unsteered_text"].to_numpy() == pytest.approx(0.05, rel=0.02)


def test_the_ceiling_and_the_carried_cosine_are_those_of_halves(study, folder):
    cosines = table(folder, "evaluation/cosines").set_index(["condition", "seed", "concept"])
    halves = [load(study, "two", part) for part in ("half-a", "half-b")]
    concept = study.split.evaluated[0]
    expected = float(halves[0][concept].direction @ halves[1][concept].direction)
    assert cosines.loc[(NATIVE, 0, concept), "split_half_cosine"] == pytest.approx(expected, abs=1e-6)
    source = [load(study, "one", part)[concept].direction for part in ("half-a", "half-b")]
    ways = [source[0] @ halves[1][concept].direction, source[1] @ halves[0][concept].direction]
    assert cosines.loc[("identity", 0, concept), "cosine_halves"] == pytest.approx(np.mean(ways), abs=1e-6)


def test_a_finished_study_writes_nothing_again(study, folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".jsonl", ".safetensors")}
    before |= {path: path.stat().st_mtime_ns for path in (folder / "evaluation").glob("*/*.json")}
    evaluate.evaluate(opened(folder))
    kept = {p: t for p, t in before.items() if "in_target" not in str(p)}
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


class Stop(BaseException):
    """Somebody pulled the plug."""


def test_an_interrupted_evaluation_goes_on_and_ends_as_if_nothing_had_happened(study, folder, tmp_path):
    def pull(label, done, total):
        if label == "texts to choose strengths on" and done >= 64:
            raise Stop

    with pytest.raises(Stop):
        evaluate.run(opened(tmp_path, pull))
    kept = {path: path.read_bytes() for path in (tmp_path / "evaluation/generations").glob("*.jsonl")}
    assert kept and not (tmp_path / "evaluation/texts.parquet").exists()
    evaluate.run(opened(tmp_path))
    assert {path: path.read_bytes() for path in kept} == kept
    columns = ["split", "condition", "seed", "concept", "strength", "prompt", "text", "useful"]
    pd.testing.assert_frame_equal(
        table(tmp_path, "evaluation/texts")[columns], table(folder, "evaluation/texts")[columns]
    )


def test_the_split_is_written_before_any_vector(tmp_path):
    opened(tmp_path)
    assert [path.name for path in (tmp_path / "vectors").iterdir()] == ["split.json"]


def test_a_plan_leaves_nothing_so_that_the_settings_may_change_after_it(tmp_path, run):
    path, out = tmp_path / "c.yaml", tmp_path / "results"
    for n in (1, 2):
        path.write_text(yaml.safe_dump(transfer_study.values(out, prompts={"n_selection": n, "n_test": n})))
        code, _, err = run("transfer", "run", "--config", path, "--dry-run")
        assert code == 0, err
    assert not out.exists()


def test_a_folder_of_another_split_is_refused(tmp_path, run):
    opened(tmp_path)
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(transfer_study.values(tmp_path, prompts={"n_selection": 1, "n_test": 1})))
    code, _, err = run("transfer", "vectors", "--config", path)
    assert code == 2 and "was made with other concepts, rows or prompts" in err


def test_the_command_line_draws_and_says_what_was_found(study, folder, run):
    code, out, err = run("transfer", "report", "--output-dir", folder)
    assert code == 0, err
    assert "recovery n/a, the interval of the native gain contains 0" in out
    for name in (
        "scores.png",
        "scores_equal_side_effect.png",
        "closeness.png",
        "strength_curves.png",
        "concepts.png",
        "report.md",
    ):
        assert (folder / "analysis" / name).exists()
    again = (folder / "analysis/scores.png").read_bytes()
    assert run("transfer", "report", "--output-dir", folder, "--json")[0] == 0
    assert (folder / "analysis/scores.png").read_bytes() == again


def test_fit_takes_the_flags_of_the_document(study, folder, run):
    code, out, err = run(
        "transfer",
        "fit",
        "--source_model",
        "one",
        "--target_model",
        "two",
        "--method",
        "linear",
        "--output-dir",
        folder,
    )
    assert code == 0, err
    assert out.strip().endswith("one__two__linear.safetensors") and "held-out variance explained" in err


def test_the_plan_is_no_less_than_what_is_written(study, folder, run):
    code, out, _ = run("transfer", "run", "--dry-run", "--json", "--output-dir", folder)
    planned = json.loads(out)
    assert code == 0 and planned["texts_kept"] > 0
    assert planned["texts_at_most"] >= planned["texts_kept"]


def planted(score, condition="linear", split="selection", concept="a", strength=1.0, seed=0):
    return {
        "split": split,
        "condition": condition,
        "seed": seed,
        "concept": concept,
        "strength": strength,
        "useful": score,
    }


def test_the_best_strength_is_chosen_and_of_equals_the_weakest():
    rows = [planted(s, strength=k) for k, s in ((0.5, 0.0), (1.0, 1.0), (2.0, 1.0))]
    rows += [planted(0.0, strength=k, concept="b") for k in (2.0, 1.0)]
    rows += [planted(9.0, strength=2.0, split="test"), planted(9.0, strength=None)]
    assert writing.choose(pd.DataFrame(rows), "useful") == {("linear", 0, "a"): 1.0, ("linear", 0, "b"): 1.0}


def test_recovery_is_the_ratio_of_sums_of_what_was_planted(tmp_path):
    # native gains 0.8 in every concept but one, carried vectors half of it; random vectors nothing.
    worth = {"none": 0.0, "prompted": 0.1, "native": 0.8, "linear": 0.4, "identity": 0.0, "random": 0.0}
    rows = [
        planted(value * (1 - 0.1 * number), condition, "test", f"c{number}", None if value < 0.2 else 1.0)
        for condition, value in worth.items()
        for number in range(6)
    ]
    settings = TransferSettings.model_validate(transfer_study.values(tmp_path))
    found = analysis.score_table(pd.DataFrame(rows), "test", settings).set_index("condition")
    assert found.loc["linear", "recovery"] == pytest.approx(0.5)
    assert found.loc["identity", "recovery"] == 0
    assert found.loc["linear", "p_none"] == pytest.approx(2 / 64)
    # Two methods are tested: Holm doubles the smaller p.
    assert found.loc["linear", "p_none_holm"] == pytest.approx(4 / 64)
    assert np.isnan(found.loc["random", "p_none_holm"])
    assert found.loc["linear", "keeps_share"] is False or not found.loc["linear", "keeps_share"]


@pytest.mark.parametrize("reached", [(), ("c0",)])
def test_concepts_whose_native_vector_has_no_strength_of_equal_side_effect_stop_no_table(tmp_path, reached):
    rows = [planted(0.0, name, "test", f"c{n}", None) for name in ("none", "prompted") for n in range(6)]
    rows += [planted(0.4, "linear", "equal side effect", f"c{n}") for n in range(6)]
    rows += [planted(0.8, NATIVE, "equal side effect", concept) for concept in reached]
    settings = TransferSettings.model_validate(transfer_study.values(tmp_path))
    found = analysis.score_table(pd.DataFrame(rows), "equal side effect", settings).set_index("condition")
    assert found.loc["linear", "score"] == pytest.approx(0.4)
    assert np.isnan(found.loc["linear", "recovery"])
    assert found.loc["linear", "recovery_reason"] == ("too_few_units" if reached else "no_native_texts")
    assert found["left_out"].unique().tolist() == ["c1, c2, c3, c4, c5" if reached else ""]


def test_a_study_run_again_without_texts_shows_none_of_the_earlier_ones(study, folder, tmp_path, run):
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    evaluate.run(opened(out, generation=None))
    code, said, err = run("transfer", "report", "--output-dir", out)
    assert code == 0, err
    assert "equal side effect" not in said and "native vectors:" not in said
    assert not (out / "evaluation/texts.parquet").exists() and list((out / "evaluation/generations").iterdir())


def test_identity_between_two_widths_is_named_in_the_table_and_refused_when_asked_for(tmp_path, run):
    wide = tmp_path / "narrow"
    _narrow(wide)
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(transfer_study.values(tmp_path / "out", target=wide, generation=None)))
    code, out, err = run("transfer", "run", "--config", path)
    assert code == 0, err
    assert "identity: n/a, identity needs equal widths, the models have 64 and 32" in out
    code, _, err = run("transfer", "fit", "--config", path, "--method", "identity")
    assert code == 2 and "Use --method linear" in err


def _narrow(folder):
    import torch
    import transformers

    config = transformers.LlamaConfig(**{**tiny_models._GROUPED, "hidden_size": 32})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)
