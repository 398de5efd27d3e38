"""`probeshift score` and `score_texts`: the numbers are those of extraction, and a probe is not used where it does not belong."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_models
from sklearn.linear_model import LogisticRegression

import probeshift as ps
from probeshift.errors import UsageError
from probeshift.models.prompts import PromptFormat
from probeshift.probes import find_method
from probeshift.results import ResultFolder, read_probes, write_probes
from probeshift.scoring.fitting_together import ASPECTS, Mismatch, refuse
from probeshift.scoring.scorer import options_of
from probeshift.shift import SliceData, fit_probes

LAYER = 2
TEXTS = [
    f"The city of {name} is in {place}." for name in ("Paris", "Lima", "Tokyo") for place in ("Peru", "Norway", "Italy")
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("score")


@pytest.fixture(autouse=True)
def inside(home, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(home / "cache"))
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def model():
    return ps.load_model(str(tiny_models.shared("llama")), dtype="float32")


@pytest.fixture(scope="module")
def train(home, model):
    data = ps.load_dataset("facts_cities_affirmed")
    return ps.read_activations(model, data.split("train", 40), layers=[1, LAYER], root=home / "acts")


@pytest.fixture(scope="module")
def probes(home, train):
    """Probe files of three methods at two layers, by method."""
    methods = [find_method(name) for name in ("lr", "dim", "pca")]
    fit_probes(SliceData("cities", "train", train), methods, (1, LAYER), ResultFolder(home / "run"))
    return {m.name: home / "run" / "probes" / m.name / "cities.safetensors" for m in methods}


def changed(path, target, **fields):
    """A copy of a probe file whose card says something else."""
    probes = read_probes(path)
    write_probes(target, replace(probes, card=replace(probes.card, **fields)))
    return target


def scores_of(path, model, texts=TEXTS, **options):
    return list(ps.score_texts(ps.open_probe(path, LAYER), model, texts, **options))


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_scores_are_those_of_stored_activations(probes, model, train):
    for path in probes.values():
        saved = ps.open_probe(path, LAYER)
        stored = saved.probe.score(train.read(LAYER))
        found = [s.score for s in ps.score_texts(saved, model, train.texts)]
        np.testing.assert_allclose(found, stored, rtol=1e-6, atol=1e-6)  # equal batches; sums in another order
    other = ps.open_probe(probes["lr"], 1).probe.score(train.read(LAYER))
    assert np.abs(other - stored).max() > 1e-2, "another layer's probe gives other scores"


def test_a_logistic_probe_gives_the_probability_that_scikit_learn_gives(probes, model, train):
    oracle = LogisticRegression(C=1, max_iter=5000, tol=1e-10).fit(train.read(LAYER), train.labels)
    wanted = oracle.predict_proba(train.read(LAYER))[:, 1]
    found = scores_of(probes["lr"], model, train.texts)
    np.testing.assert_allclose([s.probability for s in found], wanted, atol=1e-3)  # scikit-learn stops at its tolerance
    assert all(s.squashed is None and s.decision == (s.probability > 0.5) for s in found)


def test_only_a_fitted_probability_is_called_one(probes, model):
    for s in scores_of(probes["dim"], model):
        assert s.probability is None and s.squashed == pytest.approx(1 / (1 + np.exp(-s.score)))
    regression = scores_of(changed(probes["dim"], Path("number.safetensors"), task="regression"), model)
    assert all(s.probability is None and s.squashed is None and s.decision is None for s in regression)


def test_how_many_texts_are_held_does_not_change_scores(probes, model):
    whole, few = (scores_of(probes["lr"], model, rows_at_once=n) for n in (1024, 2))
    np.testing.assert_allclose([s.score for s in whole], [s.score for s in few], rtol=1e-4, atol=1e-4)  # other paddings


def test_an_endless_stream_is_read_only_as_far_as_needed(probes, model):
    drawn = []

    def endless():
        while True:
            drawn.append(len(drawn))
            yield f"Fact number {len(drawn)} is in France."

    scores = ps.score_texts(ps.open_probe(probes["lr"], LAYER), model, endless(), rows_at_once=8)
    first = [next(scores) for _ in range(20)]
    assert len(first) == 20 and len(drawn) == 24


def test_the_score_of_the_last_token_is_the_score_of_the_text(probes, model):
    for s, text in zip(scores_of(probes["dim"], model, tokens=True), TEXTS, strict=True):
        assert [t.token for t in s.tokens] == model.tokenizer.tokenize(text)
        assert s.tokens[-1].score == pytest.approx(s.score, rel=1e-12)  # one matrix, summed in another order
        assert s.tokens[0].score != s.score


def test_token_scores_average_to_the_score_of_a_mean_probe(probes, model):
    path = changed(probes["dim"], Path("mean.safetensors"), position="mean")
    for s in scores_of(path, model, tokens=True):
        scale = max(abs(t.score) for t in s.tokens)
        assert s.score == pytest.approx(np.mean([t.score for t in s.tokens]), abs=1e-5 * scale)


def test_token_scores_are_those_of_each_beginning_of_the_text(probes, model):
    text = TEXTS[0]
    (whole,) = scores_of(probes["dim"], model, [text], tokens=True)
    ids = model.tokenizer(text).input_ids
    for n in (3, 5):
        (start,) = scores_of(probes["dim"], model, [model.tokenizer.decode(ids[:n])])
        assert start.score == pytest.approx(whole.tokens[n - 1].score, rel=1e-4, abs=1e-3)


def test_an_empty_text_has_no_score_and_says_why(probes, model):
    empty, full = scores_of(probes["lr"], model, ["", TEXTS[0]])
    assert (empty.score, empty.probability, empty.decision, empty.reason) == (None, None, None, "empty text")
    assert full.score is not None and full.reason is None


@pytest.mark.parametrize(
    ("aspect", "fields", "options"),
    [
        ("model", {"model_weights": "0" * 64}, {}),
        ("model", {"model_weights": "unknown"}, {}),
        ("layer", {}, {"layers": (1,)}),
        ("position", {}, {"positions": ("-2",)}),
        ("template", {}, {"prompts": PromptFormat("chat")}),
        ("template", {"prompts": {"kind": "raw", "special_tokens": False}}, {"prompts": PromptFormat()}),
        ("dtype", {"dtype": "bfloat16"}, {}),
        ("dtype", {"quantization": "4bit"}, {"quantization": None}),
    ],
)
def test_a_probe_of_something_else_is_refused_until_that_is_named(probes, model, aspect, fields, options):
    path = changed(probes["lr"], Path(f"other-{aspect}.safetensors"), **fields)
    saved = ps.open_probe(path, LAYER)
    used = replace(options_of(saved, model), **options)
    with pytest.raises(UsageError, match=f"--force {aspect}"):
        list(ps.score_texts(saved, model, TEXTS, options=used))
    with pytest.raises(UsageError, match=f"--force {aspect}"):
        list(ps.score_texts(saved, model, TEXTS, options=used, ignored=[a for a in ASPECTS if a != aspect]))
    assert len(list(ps.score_texts(saved, model, TEXTS, options=used, ignored=[aspect]))) == len(TEXTS)


def test_two_16_bit_formats_are_one_family_and_32_bits_another(probes):
    from probeshift.scoring.fitting_together import _dtype

    card = read_probes(probes["lr"]).card
    half = replace(card, dtype="bfloat16")
    assert _dtype(half, "float16", None) is None
    assert _dtype(half, "float32", None).aspect == "dtype"
    assert _dtype(card, "float32", None) is None


def test_a_width_that_cannot_fit_is_refused_whatever_is_forced(probes, model):
    probes_2d = read_probes(probes["lr"])
    write_probes(Path("narrow.safetensors"), replace(probes_2d, directions=probes_2d.directions[:, :10]))
    with pytest.raises(UsageError, match="10 dimensions"):
        scores_of("narrow.safetensors", model, ignored=ASPECTS)


def test_a_force_that_means_nothing_is_refused():
    with pytest.raises(UsageError, match="Nearest: `template`"):
        refuse([Mismatch("template", "other")], ["templates"])


def test_chat_prompts_are_made_as_they_were_for_training(home, model):
    data = ps.load_dataset("facts_cities_affirmed").split("train", 40)
    chat = PromptFormat("chat", system="Be brief.")
    store = ps.read_activations(model, data, layers=[LAYER], positions=["last"], prompts=chat, root=home / "chat")
    results = ResultFolder(home / "chat-run")
    fit_probes(SliceData("cities", "train", store), [find_method("dim")], (LAYER,), results)
    path = home / "chat-run/probes/dim/cities.safetensors"
    saved = ps.open_probe(path)
    found = [s.score for s in ps.score_texts(saved, model, store.texts)]
    np.testing.assert_allclose(found, saved.probe.score(store.read(LAYER)), rtol=1e-6, atol=1e-6)
    other = replace(options_of(saved, model), prompts=replace(chat, system="Be long."))
    with pytest.raises(UsageError, match=r"system `Be brief\.` instead of `Be long"):
        list(ps.score_texts(saved, model, store.texts, options=other))


def test_a_training_run_stands_for_its_chosen_probe_and_predicts_what_it_reported(run, home):
    folder = str(tiny_models.shared("llama"))
    questions = [f"Is {i} {'very ' * (i % 5)}much?" for i in range(60)]
    table = pd.DataFrame({"question": questions, "success_rate": [(i % 5) / 4 for i in range(60)]})
    for side, part in (("train", table[:40]), ("test", table[40:])):
        part.to_parquet(f"{side}.parquet")
        args = (
            "--model",
            folder,
            "--dataset-path",
            f"{side}.parquet",
            "--output-path",
            f"acts/{side}",
            "--dtype",
            "float32",
        )
        assert run("extract", *args, "--use-chat-template", "--layers", "all")[0] == 0
    code, _, err = run(
        "train", "--train-activations", "acts/train", "--test-activations", "acts/test", "--output-dir", "trained",
        "--n-resamples", 20, "--n-draws", 2,
    )  # fmt: skip
    assert code == 0, err
    code, out, err = run(
        "score", "--probe", "trained", "--model", folder, "--input", "test.parquet", "--text-column", "question"
    )
    assert code == 0, err
    predicted = pd.read_parquet("trained/predictions.parquet").query("split == 'test'")["predicted"]
    found = lines(out)
    np.testing.assert_allclose([row["score"] for row in found], predicted, rtol=1e-4, atol=1e-4)
    assert all(row["decision"] is None and row["probability"] is None for row in found), "a success rate is a number"


@pytest.fixture
def score(run, probes):
    folder = str(tiny_models.shared("llama"))
    return lambda *args, probe=probes["lr"]: run("score", "--probe", probe, "--layer", LAYER, "--model", folder, *args)


@pytest.fixture
def tables():
    frame = pd.DataFrame({"id": range(len(TEXTS)), "claim": TEXTS})
    frame.to_parquet("in.parquet")
    frame.to_csv("in.csv", index=False)
    frame.to_json("in.jsonl", orient="records", lines=True)
    Path("in.txt").write_text("\n".join(TEXTS) + "\n")


def test_every_format_in_and_out_gives_the_same_scores(score, tables, probes, model):
    wanted = [s.score for s in scores_of(probes["lr"], model)]
    for suffix in ("txt", "csv", "jsonl", "parquet"):
        columns = () if suffix == "txt" else ("--text-column", "claim", "--keep", "id")
        for target, read in (
            ("jsonl", lambda p: pd.read_json(p, lines=True)),
            ("csv", pd.read_csv),
            ("parquet", pd.read_parquet),
        ):
            code, out, err = score("--input", f"in.{suffix}", *columns, "--output", f"out.{target}")
            assert code == 0, err
            assert out.strip() == f"out.{target}"
            found = read(f"out.{target}")
            np.testing.assert_allclose(found["score"], wanted, rtol=1e-9)
            assert found["row"].tolist() == list(range(1, len(TEXTS) + 1))
            assert suffix == "txt" or [int(i) for i in found["id"]] == list(range(len(TEXTS)))


@pytest.mark.parametrize(("target", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_no_texts_make_a_table_without_rows(score, target, read):
    Path("none.txt").write_text("")
    code, _, err = score("--input", "none.txt", "--output", f"none.{target}")
    assert code == 0, err
    assert len(read(f"none.{target}")) == 0


def test_a_parquet_column_that_is_null_throughout_keeps_its_type(score, tables):
    import pyarrow.parquet as pq

    assert score("--input", "in.txt", "--output", "types.parquet")[0] == 0
    schema = pq.read_schema("types.parquet")
    assert [str(schema.field(n).type) for n in ("squashed", "probability", "decision", "reason")] == [
        "double",
        "double",
        "bool",
        "string",
    ]


def test_standard_input_is_read_as_lines_or_as_json_lines(score, tables, monkeypatch, probes, model):
    wanted = [s.score for s in scores_of(probes["lr"], model)]
    for name, extra in (("in.txt", ()), ("in.jsonl", ("--format", "jsonl", "--text-column", "claim"))):
        monkeypatch.setattr("sys.stdin", io.StringIO(Path(name).read_text()))
        code, out, err = score(*extra)
        assert code == 0, err
        np.testing.assert_allclose([row["score"] for row in lines(out)], wanted, rtol=1e-9)


def test_the_file_beside_the_scores_says_what_they_are(score, tables):
    assert score("--input", "in.txt", "--output", "told.jsonl")[0] == 0
    about = json.loads(Path("told.meta.json").read_text())
    assert about["fitted"]["layer"] == about["read"]["layer"] == LAYER
    assert about["fitted"]["threshold"] == "score > 0 (the intercept)" and "log odds" in about["fitted"]["score"]
    assert about["counts"]["rows"] == len(TEXTS) and about["ignored"] == []


def test_a_killed_job_goes_on_where_it_stopped(score, tables, monkeypatch):
    from probeshift.scoring import scorer

    assert score("--input", "in.txt", "--output", "whole.jsonl")[0] == 0
    real, calls = scorer._read, []

    def dies_at_the_second_chunk(*args):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError
        return real(*args)

    monkeypatch.setattr(scorer, "_read", dies_at_the_second_chunk)
    with pytest.raises(RuntimeError):
        score("--input", "in.txt", "--output", "killed.jsonl", "--rows-at-once", 4)
    part = Path(".killed.jsonl.part")
    assert len(lines(part.read_text())) == 4 and not Path("killed.jsonl").exists()
    part.write_text(part.read_text() + '{"row": 5, "sco')  # half a line, as a dying machine leaves it
    assert score("--input", "in.txt", "--output", "killed.jsonl", "--rows-at-once", 4)[0] == 0
    read = sum(len(c[1].rows) for c in calls[2:])
    assert read == len(TEXTS) - 4, "what was finished is not read again"
    resumed, whole = (lines(Path(f"{name}.jsonl").read_text()) for name in ("killed", "whole"))
    assert [r["row"] for r in resumed] == [r["row"] for r in whole]
    np.testing.assert_allclose([r["score"] for r in resumed], [r["score"] for r in whole], rtol=1e-4, atol=1e-4)


def test_what_another_probe_left_behind_is_not_taken_up(score, tables, probes):
    Path(".mixed.jsonl.part").write_text('{"row": 1, "score": 99.0}\n')
    Path(".mixed.jsonl.job").write_text("another job")
    assert score("--input", "in.txt", "--output", "mixed.jsonl")[0] == 0
    found = lines(Path("mixed.jsonl").read_text())
    assert len(found) == len(TEXTS) and found[0]["score"] != 99.0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--input", "no.txt"), "there is no file no.txt"),
        (("--input", "in.csv"), "has no column `text`"),
        (("--input", "in.txt", "--keep", "id"), "lines of plain text have none"),
        (("--input", "in.txt", "--output", "out.xlsx"), "must end in .jsonl, .csv or .parquet"),
        (("--input", "in.txt", "--force", "modle"), "Nearest: `model`"),
        (("--input", "in.txt", "--dtype", "bfloat16"), "--force dtype"),
        (("--input", "in.txt", "--prompts", "chat"), "--force template"),
        (("--input", "in.txt", "--read-layer", "1"), "--force layer"),
        (("--input", "in.txt", "--json"), "Add --output"),
    ],
)
def test_a_mistake_is_told_in_one_sentence_with_its_remedy(score, tables, args, told):
    code, _, err = score(*args)
    assert code == 2 and told in err


def test_a_file_of_several_layers_needs_one_named(run, probes):
    code, _, err = run("score", "--probe", probes["lr"], "--input", "in.txt")
    assert code == 2 and "layers (1, 2)" in err and "--layer" in err
    code, _, err = run("score", "--probe", probes["lr"], "--layer", 3, "--input", "in.txt")
    assert code == 2 and "no probe at layer 3" in err


def test_the_python_of_the_docs_gives_the_scores_of_the_command(score, tables, probes):
    page = (Path(__file__).parents[1] / "docs" / "score.md").read_text()
    example = re.search(r"```python\n(.*?)```", page, re.S)[1]
    body = [line for line in example.splitlines() if line.strip() and not line.startswith("import")]
    assert len(body) == 3
    write_probes(Path("probe.safetensors"), read_probes(probes["lr"]))
    example = example.replace("probe.card.model", repr(str(tiny_models.shared("llama")))).replace(
        "layer=14", f"layer={LAYER}"
    )
    names = {"texts": TEXTS}
    exec(example, names)
    _, out, _ = score("--input", "in.txt")
    assert [s.score for s in names["scores"]] == [row["score"] for row in lines(out)]
