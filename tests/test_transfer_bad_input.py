"""Bad input: one clear sentence, an exit code, and nothing lost that was finished."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tiny_models
import transfer_study
import yaml
from safetensors.numpy import load_file

from probeshift.experiments.transfer.study import rule_concepts
from probeshift.steering.vectors import load_vectors

DEAD = "http://127.0.0.1:9/v1"  # the discard port: nobody answers


@pytest.fixture
def study(tmp_path):
    """Writes a configuration; gives its path and the folder of results."""

    def write(**changed):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**transfer_study.values(tmp_path / "out"), **changed}))
        return path, tmp_path / "out"

    return write


def small(**changed):
    return {"concepts": {"rules": transfer_study.RULES[:3], "evaluate": transfer_study.RULES[:2], "rows": 4, "max_tokens": 200},
            "methods": ["linear"], "strengths": [1.0],
            "prompts": {"n_selection": 1, "n_test": 1}, "kl_target": None, **changed}  # fmt: skip


def test_rows_that_the_target_cannot_read_are_refused_before_the_source_reads_any(study, run, tmp_path):
    short = tmp_path / "short"
    shutil.copytree(tiny_models.shared("qwen2"), short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    values = transfer_study.values(tmp_path / "out", target=short, **small())
    path, out = study(models=values["models"], **small())
    code, _, err = run("transfer", "vectors", "--config", path)
    assert code == 2 and "which reads 64" in err and "max_tokens" in err
    assert not list((out / "vectors").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"backend": "openai", "model": "m", "key_variable": "MY_JUDGE_KEY"}, "MY_JUDGE_KEY"),
        ({"backend": "openai", "model": "m", "base_url": DEAD, "max_retries": 0, "timeout": 2}, "127.0.0.1:9"),
    ],
)
def test_a_judge_that_cannot_be_asked_costs_no_text(study, run, monkeypatch, judge, message):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("MY_JUDGE_KEY", raising=False)
    path, out = study(**small(judge=judge, score="overall"))
    code, _, err = run("transfer", "run", "--config", path)
    assert code == 1, err
    assert message in err.splitlines()[-1]
    kept = sum(len(p.read_text().splitlines()) for p in (out / "evaluation/generations").glob("*.jsonl"))
    assert kept >= 2 * (1 + 1 + 5 + 1 + 1)  # two concepts: native, linear, random, mean, shuffled
    # With rules instead of that judge the same folder is finished from what was written.
    path, out = study(**small())
    code, _, err = run("transfer", "run", "--config", path)
    assert code == 0, err
    assert f"({kept:,} already written)" in err
    assert "texts to choose strengths on" not in err  # none was missing


def test_a_score_that_nobody_can_give_is_told_before_any_work(study, run):
    path, out = study(score="overall")
    code, _, err = run("transfer", "run", "--config", path)
    assert code == 2 and "judge.backend is none" in err
    assert not (out / "vectors/one.safetensors").exists()


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"concepts": {"rules": ["upercase"], "evaluate": 1}}, 2, "Nearest: `uppercase`"),
        ({"concepts": {"rules": transfer_study.RULES, "evaluate": ["uppercas", "quoted"]}}, 2, "Nearest: `uppercase`"),
        ({"concepts": {"caa": "nowhere"}}, 4, "generate_dataset.json"),
        ({"prompts": {"n_test": 99}}, 2, "99 test prompts asked, 10 found"),
        ({"alignment": {"file": "nowhere.txt"}}, 4, "there is no file nowhere.txt of alignment text"),
    ],
)
def test_what_is_not_there_is_told(study, run, changed, code, message):
    path, _ = study(**changed)
    found, _, err = run("transfer", "run", "--config", path)
    assert found == code and message in err.splitlines()[-1]


def test_a_layer_outside_the_model_is_told(study, run):
    values = transfer_study.values("x")["models"]
    values[1]["layer"] = 99
    path, _ = study(models=values)
    code, _, err = run("transfer", "vectors", "--config", path)
    assert code == 2 and "this model has layers 0 to" in err


def test_a_concept_without_positives_is_told(study, run, tmp_path):
    table = pd.DataFrame([{"concept": "tea", "prompt": f"p{i}", "response": "word", "positive": 0} for i in range(20)])
    table.to_csv(tmp_path / "own.csv", index=False)
    path, _ = study(concepts={"file": {"path": str(tmp_path / "own.csv")}}, generation=None)
    code, _, err = run("transfer", "vectors", "--config", path)
    assert code == 2 and "concept `tea` has no positives" in err


def test_alignment_text_that_shares_words_with_the_concepts_is_refused(study, run, tmp_path):
    shared = rule_concepts(["uppercase"]).rows[1].response
    (tmp_path / "text.txt").write_text(
        "\n".join([shared, *(f"line number {i} of plain words here" for i in range(40))])
    )
    path, _ = study(alignment={"file": str(tmp_path / "text.txt")})
    code, _, err = run("transfer", "run", "--config", path)
    assert code == 2 and "the alignment text shares" in err


def test_vectors_that_are_not_finite_are_refused(study, run):
    path, out = study(**small())
    assert run("transfer", "vectors", "--config", path)[0] == 0
    file = out / "vectors/two.safetensors"
    good = load_vectors(file)
    raw = bytearray(file.read_bytes())
    raw[-4:] = np.float32("nan").tobytes()
    file.write_bytes(bytes(raw))
    assert np.isnan(next(reversed(load_file(file).values()))).any() and good
    code, _, err = run("transfer", "evaluate", "--config", path)
    assert code == 2 and "is not a finite vector" in err


def test_without_a_configuration_the_sentence_says_how_to_give_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("transfer", "evaluate")
    assert code == 2 and "Give --config" in err
    code, _, err = run("transfer", "report")
    assert code == 1 and "Run `probeshift transfer evaluate`" in err


@pytest.mark.parametrize("key", ["prompts", "alignment"])
def test_a_file_that_is_not_json_is_told_with_what_it_should_hold(study, run, tmp_path, key):
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    path, _ = study(**small(**{key: {"file": str(bad)}}))
    code, _, err = run("transfer", "run", "--config", path)
    assert code == 2 and "bad.json is not JSON" in err and "It should hold" in err


def test_rows_cut_before_their_response_say_that_the_limit_is_in_the_way(study, run):
    path, _ = study(**small(concepts={**small()["concepts"], "max_tokens": 8}))
    code, _, err = run("transfer", "run", "--config", path)
    assert code == 2 and "rows are cut at 8: raise max_tokens" in err


def test_a_damaged_file_of_costs_is_named(study, run):
    path, out = study(**small())
    assert run("transfer", "run", "--config", path)[0] == 0
    damaged = next((out / "evaluation/costs").glob("*.json"))
    damaged.write_text("{")
    code, _, err = run("transfer", "run", "--config", path)
    assert code == 1 and damaged.name in err and "measured again" in err
    damaged.unlink()
    assert run("transfer", "run", "--config", path)[0] == 0


@pytest.mark.parametrize("backend", ["hf", "openai"])
def test_a_judge_without_a_model_is_refused_by_the_plan(study, run, backend):
    path, _ = study(**small(), judge={"backend": backend})
    code, _, err = run("transfer", "run", "--config", path, "--dry-run")
    assert code == 2 and f"judge backend {backend} needs a model" in err
    path, _ = study(**small(), judge={"backend": "hf", "model": "smollm2-135m"})
    code, _, err = run("transfer", "run", "--config", path, "--dry-run")
    assert code == 0, err
