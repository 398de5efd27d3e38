"""What a transfer study may choose beside its defaults: how the target's layer is found, other maps, a local judge."""

import json
import shutil

import pandas as pd
import pytest
import tiny_models
import transfer_study

from probeshift.experiments.transfer import evaluate
from probeshift.experiments.transfer.alignment import alignment_texts
from probeshift.experiments.transfer.maps import fit
from probeshift.experiments.transfer.settings import TransferSettings
from probeshift.experiments.transfer.study import Study
from probeshift.experiments.transfer.vectors import load, make_vectors
from probeshift.steering.maps.alignment import align
from probeshift.steering.maps.layers import sweep_layers

FEW = {
    "concepts": {"rules": transfer_study.RULES[:4], "evaluate": transfer_study.RULES[:2], "rows": 4, "max_tokens": 200}
}


def opened(folder, *, layer="relative", **changed):
    found = transfer_study.values(folder, **FEW, **changed)
    found["models"][1]["layer"] = layer
    return Study.open(TransferSettings.model_validate(found))


@pytest.mark.parametrize("measure", ["cka", "r2"])
def test_the_layer_is_the_best_of_a_sweep_and_every_card_says_so(tmp_path, measure):
    study = opened(tmp_path, layer=measure, methods=["linear"], generation=None)
    evaluate.run(study)
    asked = study.settings.alignment
    aligned = align(study.model("one"), study.model("two"), alignment_texts(study), max_tokens=asked.max_tokens)
    best = sweep_layers(aligned, 1, range(4), measure).best
    assert {v.layer for v in load(study, "two").values()} == {best}
    maps = pd.read_parquet(tmp_path / "evaluation/maps.parquet")
    assert set(maps["target_layer"]) == {best} and set(maps["layer_choice"]) == {f"best by held-out {measure}"}


def test_a_map_is_told_anew_where_its_layer_was_found_in_another_way(tmp_path):
    told = []
    for layer in (1, "relative"):  # the same block
        study = opened(tmp_path, layer=layer, generation=None)
        make_vectors(study)
        told.append(fit(study, ["linear"])["linear"][0].card)
    assert [card.target_layer for card in told] == [1, 1]
    assert [card.layer_choice for card in told] == ["explicit", "relative depth"]


def read_at(folder, rows, text, pairing=None):
    """Vectors and a map of rows and alignment text cut to so many tokens, and when their files were written."""
    study = opened(folder, generation=None, alignment={"limit": 40, "max_tokens": text, "pairing": pairing})
    study.settings = study.settings.model_copy(
        update={"concepts": study.settings.concepts.model_copy(update={"max_tokens": rows})}
    )
    make_vectors(study)
    card = fit(study, ["linear"])["linear"][0].card
    files = [folder / "vectors/one.safetensors", *(folder / "transfer_models").glob("*linear.safetensors")]
    return load(study, "one")["uppercase"].card, card, [path.stat().st_mtime_ns for path in files]


def test_what_was_made_of_rows_or_text_cut_elsewhere_is_made_again(tmp_path):
    vector, fitted, written = read_at(tmp_path, 200, 24)
    assert read_at(tmp_path, 200, 24)[2] == written  # the twin: nothing changed, nothing is made
    shorter, _, later = read_at(tmp_path, 150, 24)
    assert (vector.max_tokens, shorter.max_tokens) == (200, 150) and later[0] > written[0] and later[1] == written[1]
    _, cut, last = read_at(tmp_path, 150, 12)
    assert (fitted.max_tokens, cut.max_tokens) == (24, 12) and last[0] == later[0] and last[1] > later[1]
    assert cut.n_train < fitted.n_train
    assert read_at(tmp_path, 150, 12, "texts")[1].pairing == "texts"


def test_low_rank_and_mlp_maps_stand_in_every_table(tmp_path):
    evaluate.run(opened(tmp_path, methods=["lowrank", "mlp"], generation=None))
    maps = pd.read_parquet(tmp_path / "evaluation/maps.parquet").set_index("method")
    assert "rank" in maps.loc["lowrank", "choices"] and maps.loc["mlp", "r_squared_of"] == "its linear part"
    close = pd.read_parquet(tmp_path / "analysis/closeness.parquet")
    assert {"lowrank", "mlp", "native", "shuffled"} <= set(close["condition"])


def a_judge(folder):
    """A random model that reads long enough prompts; its ratings mean nothing, but they are ratings."""
    shutil.copytree(tiny_models.shared("llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8192}))
    return {"backend": "hf", "model": str(folder), "dtype": "float32", "device": "cpu"}


SMALL = {"methods": ["linear"], "strengths": [1.0], "prompts": {"n_selection": 1, "n_test": 1}, "kl_target": None}


def test_a_local_judge_scores_every_text_and_its_quality_stands_beside(tmp_path, run):
    out = tmp_path / "results"
    evaluate.run(opened(out, judge=a_judge(tmp_path / "judge"), score="overall", **SMALL))
    texts = pd.read_parquet(out / "evaluation/texts.parquet")
    parts = texts[["judge_concept", "instruction", "fluency"]]
    assert parts.stack().between(0, 2).all() and parts.notna().all(axis=None)
    assert texts["overall"].to_numpy() == pytest.approx((3 / (1 / parts).sum(axis=1)).to_numpy())
    about = json.loads((out / "evaluation/judge.json").read_text())
    assert "judge" in about["judge"] and "AUROC" in about["quality"]
    code, _, err = run("transfer", "report", "--output-dir", out)
    assert code == 0, err
    assert about["quality"] in (out / "analysis/report.md").read_text()
