"""`probeshift extract` and `train` as the document writes them, on a tiny model: files, fields, and every mistake."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch

from probeshift.activations import ActivationStore
from probeshift.models import describe, find_post_instruction, load_tokenizer
from probeshift.report.html.run_folder import RunFolder
from probeshift.report.html.sentences_of_probes import of_positions
from probeshift.report.positions.figures import position_heatmap
from probeshift.report.positions.pages import draw
from probeshift.results import load_probes

N = 48
N_LAYERS = tiny_models.N_LAYERS + 1  # with the embeddings, as in a model's list of hidden states


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("positions")
    generator = np.random.default_rng(0)
    for name, n, first in (("train", N, 0), ("test", 30, 500)):
        rates = generator.random(n).round(2)
        questions = [f"Is {i + first} {'much ' * int(10 * r)}larger than {i}?" for i, r in enumerate(rates)]
        table = pd.DataFrame({"question": questions, "success_rate": rates, "solved": rates > 0.5, "topic": ["a"] * n})
        table["kind"] = [("easy", "hard", "odd")[i % 3] for i in range(n)]
        table.to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture(autouse=True)
def inside(home, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(home / "cache"))
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def model():
    return str(tiny_models.shared("llama"))


@pytest.fixture
def extracted(run, model):
    """Both `.pt` files of the document's first step; fast when they are there already."""

    def call(*more, suffix=".pt", label="success_rate"):
        for side in ("train", "test"):
            code, _, err = run(
                "extract", "--model", model, "--dataset_path", f"{side}.parquet", "--output_path", f"acts/{side}{suffix}",
                "--label_column", label, "--question_column", "question", "--layers", "all", "--batch_size", "32",
                "--use_chat_template", *more,
            )  # fmt: skip
            assert code == 0, err
        return f"acts/train{suffix}", f"acts/test{suffix}"

    return call


def n_post(model):
    return find_post_instruction(load_tokenizer(describe(model))).n


def trained(run, sides, out, *more):
    code, stdout, err = run(
        "train", "--train_activations", sides[0], "--test_activations", sides[1], "--output_dir", out, "--n_resamples", 50,
        "--n_draws", 3, *more,
    )  # fmt: skip
    assert code == 0, err
    return stdout


def test_the_tensor_file_has_the_documents_shape_and_fields(extracted, model):
    path, _ = extracted()
    content = torch.load(path, weights_only=True)
    assert content["activations"].shape == (N, N_LAYERS, n_post(model), tiny_models.D_MODEL)
    assert content["layer_indices"] == list(range(N_LAYERS)) and content["layer_names"][:2] == ["embeddings", "h0"]
    assert content["positions"] == list(range(-n_post(model), 0)) and content["n_eoi_tokens"] == n_post(model)
    np.testing.assert_allclose(content["labels"], pd.read_parquet("train.parquet")["success_rate"], atol=1e-7)
    assert content["d_model"] == tiny_models.D_MODEL and not content["final_norm_applied"]


def test_a_store_holds_the_same_numbers_as_the_tensor_file(extracted):
    content = torch.load(extracted()[0], weights_only=True)
    store = ActivationStore.open(Path(extracted(suffix="")[0]))
    for number, layer in enumerate(store.layers):
        for column, position in enumerate(store.positions):
            np.testing.assert_array_equal(
                store.read(layer, position), content["activations"][:, number, column].float()
            )


def test_the_documents_second_step_writes_its_three_files(run, extracted, model):
    out = trained(
        run,
        extracted(),
        "results/run_1",
        "--task_type",
        "auto",
        "--alpha",
        "1.0",
        "--k_fold",
        "--n_folds",
        5,
        "--seed",
        42,
    )
    assert "Spearman" in out and "control: question length" in out
    performance, best, every = (
        json.loads(Path(f"results/run_1/{name}.json").read_text())
        for name in ("performance", "best_probe_predictions", "all_predictions")
    )
    for split in ("train", "test", "cv"):
        assert np.shape(performance["layer_performance"][split]) == (n_post(model), N_LAYERS)
    assert (
        performance["metric"] == "spearman"
        and performance["alpha"] == 1.0
        and performance["k_fold"]
        and performance["n_folds"] == 5
    )
    key = f"pos_{best['best_position']}_layer_{best['best_layer']}"
    for split, n in (("train", N), ("test", 30), ("cv", N)):
        assert (
            best[f"{split}_predictions"] == every["predictions"][key][f"{split}_predictions"]
            and len(best[f"{split}_predictions"]) == n
        )
    assert best["cv_score"] == max(v for row in performance["layer_performance"]["cv"] for v in row if v is not None)
    assert len(every["predictions"]) == n_post(model) * N_LAYERS and len(best["probe_weights"]) == tiny_models.D_MODEL
    # the embedding of a post-instruction token is the same for every question
    assert performance["layer_performance"]["cv"][0][0] is None
    for figure in ("position_heatmap", "score_by_layer", "predicted_vs_actual"):
        assert (
            Path(f"results/run_1/{figure}.png").stat().st_size > 10_000 and Path(f"results/run_1/{figure}.csv").exists()
        )


def test_the_saved_probe_gives_the_saved_predictions(run, extracted):
    sides = extracted()
    trained(run, sides, "results/run_2", "--alpha", "10")
    best = json.loads(Path("results/run_2/best_probe_predictions.json").read_text())
    name = best["best_position_name"].replace("[", "").replace("]", "")
    probes = load_probes(Path("results/run_2"), "ridge", f"train@{name}")
    content = torch.load(sides[1], weights_only=True)
    acts = content["activations"][:, best["best_layer"], best["best_position_idx"]].double().numpy()
    direction, bias = probes.at(best["best_layer"] - 1)
    np.testing.assert_allclose(acts @ direction + bias, best["test_predictions"], atol=1e-3)


def test_two_values_are_classification_and_probabilities_come_out(run, extracted):
    out = trained(run, extracted(label="solved"), "results/solved")
    assert "AUROC" in out
    best = json.loads(Path("results/solved/best_probe_predictions.json").read_text())
    assert best["metric"] == "roc_auc" and all(0 <= p <= 1 for p in best["test_predictions"])
    assert Path("results/solved/roc_and_reliability.png").exists()


def test_a_threshold_makes_two_classes_of_numbers(run, extracted):
    out = trained(run, extracted(), "results/cut", "--threshold", "0.5", "--alpha", "10")
    assert (
        "labels above 0.5 are positive" in json.loads(Path("results/cut/manifest.json").read_text())["task"]
        and "AUROC" in out
    )


def test_the_published_protocol_says_so_everywhere(run, extracted):
    out = trained(run, extracted(), "results/published", "--protocol", "published", "--no-k-fold")
    performance = json.loads(Path("results/published/performance.json").read_text())
    assert (
        performance["layer_performance"]["cv"] is None
        and performance["n_folds"] is None
        and performance["alpha"] == 1.0
    )
    assert "test scores (published procedure)" in out
    rows = pd.read_parquet("results/published/results.parquet")
    assert set(rows["protocol"]) == {"published"} and not (rows["split"] == "cv").any()


@pytest.mark.parametrize(("low", "told"), [(0.55, "is above chance"), (0.45, "is NOT clearly above chance")])
def test_a_control_below_chance_is_no_bar_to_be_above(run, extracted, low, told):
    """The words of the question score 0.3: any probe is above that, and what counts is whether it is above 0.5."""
    trained(run, extracted(label="solved"), "results/bar", "--alpha", "10")
    rows = pd.read_parquet("results/bar/results.parquet")
    words, probe = rows["method"].str.startswith("TF-IDF"), rows["selected"].eq(True) & rows["split"].eq("test")
    measured = ["value", "ci_low", "ci_high", "gain", "gain_low", "gain_high"]
    rows.loc[words, measured] = 0.3, 0.25, 0.35, 0.3, 0.1, 0.5
    rows.loc[probe, ["value", "ci_low", "ci_high"]] = 0.6, low, 0.65
    rows.to_parquet("results/bar/results.parquet")
    (note,) = (note for note in draw(Path("results/bar")).notes if "TF-IDF" in note)
    assert "itself below chance (up to 0.350)" in note and told in note and not note.startswith("above")
    rows.loc[words, "ci_high"] = 0.52  # the twin: a control that may be at chance is a bar
    rows.to_parquet("results/bar/results.parquet")
    assert any(note.startswith("above the control `TF-IDF") for note in draw(Path("results/bar")).notes)


def test_one_file_is_split_by_question(run, extracted):
    sides = extracted()
    code, _, err = run("train", "--train-activations", sides[0], "--test-share", "0.3", "--output-dir", "results/share", "--alpha", "10",
                       "--n-resamples", 20, "--n-draws", 2)  # fmt: skip
    assert code == 0, err
    rows = pd.read_parquet("results/share/results.parquet")
    counts = rows.drop_duplicates("split").set_index("split")["n"]
    assert counts["cv"] + counts["test"] == N and set(rows["test"]) == {"train-test"}


def test_questions_in_train_and_test_are_counted(run, extracted):
    sides = extracted()
    out = trained(run, (sides[0], sides[0]), "results/leak", "--alpha", "10")
    assert f"{N} test questions are also training questions" in out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--question_column", "qestion"), "Nearest: `question`"),
        (("--label_column", "sucess_rate"), "Nearest: `success_rate`"),
        (("--label_column", "topic"), "all 48 labels in column `topic`"),
        (("--label_column", "kind"), "of 3 kinds"),
        (("--layers", "17"), "layers 0 to 3"),
        (("--positions", "post[77]"), "post-instruction tokens"),
        (("--already_formatted",), "exclude each other"),
        (("--template_kwargs", "enable_thinking"), "name=value"),
        (("--max_tokens", "9"), "no room for the user's words"),
        (("--eoi_tokens", "0"), "at least 1"),
        (("--max_samples", "0"), "--max-samples must be at least 1"),
    ],
)
def test_mistakes_in_extract_are_one_sentence(run, model, options, told):
    given = {"--dataset_path": "train.parquet", "--output_path": "acts/x", "--use_chat_template": None}
    flags = [part for name, value in given.items() for part in ((name,) if value is None else (name, value))]
    code, _, err = run("extract", "--model", model, *flags, *options)
    assert code == 2 and told in err and "Traceback" not in err


def test_a_file_that_is_not_parquet_is_named(run, model, home):
    (home / "broken.parquet").write_text("question,success_rate\nhello,1\n")
    code, _, err = run("extract", "--model", model, "--dataset-path", "broken.parquet", "--output-path", "acts/y")
    assert code == 2 and "broken.parquet cannot be read as parquet" in err


def test_questions_that_carry_the_template_are_noticed(run, model, home):
    table = pd.read_parquet("train.parquet")
    table["question"] = [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n" for q in table["question"]]
    table.to_parquet(home / "formatted.parquet")
    code, _, err = run(
        "extract",
        "--model",
        model,
        "--dataset-path",
        "formatted.parquet",
        "--use-chat-template",
        "--output-path",
        "acts/f",
    )
    assert code == 0 and "already carry the chat template" in err
    formatted = ActivationStore.open(Path("acts/f"))
    assert formatted.positions == tuple(f"post[{i}]" for i in range(-n_post(model), 0))
    table.loc[0, "question"] = "Is 1 larger than 0?"
    table.to_parquet(home / "mixed.parquet")
    code, _, err = run(
        "extract", "--model", model, "--dataset-path", "mixed.parquet", "--use-chat-template", "--output-path", "acts/g"
    )
    assert code == 2 and "47 of 48 prompts already end" in err


def test_raw_questions_are_read_at_their_last_tokens_and_it_is_said(run, model):
    code, _, err = run(
        "extract",
        "--model",
        model,
        "--dataset-path",
        "train.parquet",
        "--eoi_tokens",
        2,
        "--max_samples",
        8,
        "--output-path",
        "acts/raw",
    )
    assert code == 0 and "raw questions without the chat template" in err
    store = ActivationStore.open(Path("acts/raw"))
    assert store.positions == ("-2", "-1") and len(store.rows) == 8


def test_something_else_at_the_output_path_is_kept(run, model, home):
    (home / "mine").mkdir(exist_ok=True)
    (home / "mine" / "thesis.txt").write_text("three years")
    code, _, err = run(
        "extract", "--model", model, "--dataset-path", "train.parquet", "--output-path", "mine", "--max_samples", 4
    )
    assert code == 2 and "already holds something else" in err and (home / "mine" / "thesis.txt").exists()


def test_the_plan_comes_before_the_work(run, model):
    code, out, _ = run(
        "extract",
        "--model",
        model,
        "--dataset-path",
        "train.parquet",
        "--output-path",
        "acts/z.pt",
        "--dry-run",
        "--json",
    )
    assert code == 0 and json.loads(out)["rows"] == N and not Path("acts/z.pt").exists()


def test_mistakes_in_train_are_one_sentence(run, extracted, home):
    train, test = extracted()
    torch.save({"nothing": 1}, home / "other.pt")
    (home / "text.pt").write_text("hello")
    cases = [
        ((train, test, "--task-type", "classification"), "Add --threshold"),
        ((train, test, "--threshold", "7"), "nothing to predict"),
        ((train, test, "--alpha", "1", "--alpha-grid", "1,2"), "exclude each other"),
        ((train, test, "--alpha-grid", "1,x"), "not understood"),
        ((train, test, "--no-k-fold"), "only test scores could choose"),
        ((train, test, "--n-folds", "999"), "Lower --n-folds"),
        ((train, "acts/tset.pt"), "Nearest: `test.pt`"),
        (("other.pt", test), "holds no activations"),
        (("text.pt", test), "is not a .pt file"),
    ]
    for (one, other, *options), told in cases:
        code, _, err = run(
            "train", "--train-activations", one, "--test-activations", other, "--output-dir", "results/bad", *options
        )
        assert code == 2 and told in err and "Traceback" not in err, (options, err)
    code, _, err = run("train", "--train-activations", train, "--output-dir", "results/bad")
    assert code == 2 and "--test-share" in err


def test_sides_of_another_template_do_not_belong_together(run, extracted, model):
    train, _ = extracted()
    code, _, err = run("extract", "--model", model, "--dataset-path", "test.parquet", "--output-path", "acts/system.pt",
                       "--use-chat-template", "--system", "Be brief.")  # fmt: skip
    assert code == 0, err
    code, _, err = run(
        "train", "--train-activations", train, "--test-activations", "acts/system.pt", "--output-dir", "results/bad"
    )
    assert code == 2 and "chat template or its options" in err


def test_files_of_the_original_program_are_read(run, extracted, home):
    """They hold neither texts nor names; controls of the text are left out, everything else works."""
    sides = []
    for side, path in zip(("train", "test"), extracted(), strict=True):
        content = torch.load(path, weights_only=True)
        kept = ("activations", "labels", "layer_indices", "positions", "n_eoi_tokens", "d_model", "model_name")
        torch.save({name: content[name] for name in kept}, home / f"plain_{side}.pt")
        sides.append(f"plain_{side}.pt")
    out = trained(run, sides, "results/plain", "--alpha", "10")
    assert "shuffled labels" in out and "TF-IDF" not in out


def test_a_template_that_writes_the_date_is_noticed(run, home):
    folder = tiny_models.build("llama", home / "dated")
    made = load_tokenizer(describe(str(folder)))
    made.chat_template = (
        "{% set d = date_string if date_string is defined else strftime_now('%d %b %Y') %}{{ d }}\n"
        + made.chat_template
    )
    made.save_pretrained(folder)
    ask = (
        "extract",
        "--model",
        folder,
        "--dataset-path",
        "train.parquet",
        "--use-chat-template",
        "--output-path",
        "acts/d",
        "--dry-run",
    )
    assert "writes today's date" in run(*ask)[2]
    code, _, err = run(*ask, "--template-kwargs", "date_string=26 Jul 2024")
    assert code == 0 and "today" not in err


def test_the_title_of_a_heatmap_of_few_layers_fits_its_figure():
    rows = pd.DataFrame(
        [
            {"layer": layer, "layer_name": f"h{layer}", "position": "last", "metric": "spearman", "value": 0.5 + layer / 10,
             "ci_low": 0.1, "ci_high": 0.9, "selected": layer == 1, "selected_by": "cross-validation", "split": "cv",
             "protocol": "strict", "n": 9}
            for layer in range(2)
        ]
    )  # fmt: skip
    figure = position_heatmap(rows, heading=["model m"])
    figure.draw_without_rendering()
    (axes, *_) = figure.axes
    assert axes.get_title(loc="left").startswith("Where it can be read")
    assert axes._left_title.get_window_extent().x1 <= figure.bbox.x1
    assert not any("grey" in text.get_text() for text in axes.texts), "nothing is undefined"


@pytest.mark.parametrize(("metric", "chance"), [("spearman", 0.0), ("auroc", 0.5)])
@pytest.mark.parametrize(("chooser", "apart"), [("cross-validation", True), ("test scores (published)", False)])
def test_the_page_names_the_metrics_own_chance_and_whether_test_rows_chose(tmp_path, metric, chance, chooser, apart):
    about = {"metric": metric, "split": "test", "test": "t", "layer": 1, "n": 9, "n_kind": "rows", "chance": chance}
    probe = {"method": "ridge", "position": "last", "selected": True, "control": False, "selected_by": chooser}
    words = {"method": "words", "position": None, "selected": False, "control": True}
    rows = [
        {**about, **kind, "value": chance + value, "ci_low": chance + value - 0.1, "ci_high": chance + value + 0.1}
        for kind, value in ((probe, 0.2), (words, -0.2))
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "results.parquet")
    told = " ".join(of_positions(RunFolder.open(tmp_path)))
    assert f"Compare the probe with {chance:g} here" in told
    assert ("that chose nothing" in told) == apart
