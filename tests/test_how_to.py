"""The how-to pages do what they say: every command and example of them is tried, costs are calculated again."""

import re
import shlex
import shutil
from pathlib import Path

import pages
import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from probeshift.layers import sampled_layers

ROOT = Path(__file__).parents[1]
FOLDER = pages.DOCS / "how-to"
COSTS = (FOLDER / "llama-qwen-study.md").read_text("utf-8")
RUN_HERE = ("own-data", "own-model-gpu", "read-numbers")
ON_A_COPY = ("add-a-method", "add-a-dataset")


def page(name):
    return (FOLDER / f"{name}.md").read_text("utf-8")


def test_every_page_is_tried():
    assert {path.stem for path in FOLDER.glob("*.md")} == {*RUN_HERE, *ON_A_COPY, "llama-qwen-study"}


@pytest.mark.parametrize("name", RUN_HERE)
def test_the_page_runs_and_prints_what_it_says(name, tmp_path):
    shutil.copytree(tiny_models.shared("llama"), tmp_path / "my-model")
    pages.run_page(page(name), tmp_path)


@pytest.fixture
def checkout(tmp_path):
    """What a contributor has: the package and its tests."""
    for part in ("src", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ON_A_COPY)
def test_following_the_page_on_a_copy_of_the_package_works(name, checkout):
    pages.run_page(page(name), checkout, env={"PYTHONPATH": str(checkout / "src")})


def test_a_wrong_method_fails_its_oracle(checkout):
    wrong = page("add-a-method").replace("rows / rows.norm(dim=-1, keepdim=True)", "rows")
    wrong = re.sub(r"```bash\npython -m pytest.*?```", "", wrong, flags=re.DOTALL)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        pages.run_page(wrong, checkout, env={"PYTHONPATH": str(checkout / "src")})


def test_the_study_uses_commands_and_options_that_are_there():
    block, *more = (block for block in pages.blocks(COSTS) if block.language == "bash")
    assert not more
    inline = re.findall(r"`(probeshift [^`]+)`", COSTS)
    lines = [shlex.split(line, comments=True) for line in [*block.body.splitlines(), *inline]]
    assert {line[0] for line in lines} == {"hf", "pip", "probeshift"} and len(lines) >= 8
    assert [word for line in lines if line[0] == "probeshift" and (word := pages.unknown_word(line))] == []


def qwen(d_model, width, heads, n_layers, *, tied):
    return Qwen3Config(
        hidden_size=d_model, intermediate_size=width, num_attention_heads=heads, num_hidden_layers=n_layers,
        num_key_value_heads=8, head_dim=128, vocab_size=151_936, tie_word_embeddings=tied,
    )  # fmt: skip


def llama(d_model, width, heads, n_layers, n_key_heads):
    return LlamaConfig(
        hidden_size=d_model, intermediate_size=width, num_attention_heads=heads, num_hidden_layers=n_layers,
        num_key_value_heads=n_key_heads, vocab_size=32_000, tie_word_embeddings=False,
    )  # fmt: skip


# As the models' published configurations have them.
CONFIGS = {
    "qwen3-4b": qwen(2560, 9728, 32, 36, tied=True),
    "qwen3-8b": qwen(4096, 12288, 32, 36, tied=False),
    "qwen3-14b": qwen(5120, 17408, 40, 40, tied=False),
    "llama2-7b": llama(4096, 11008, 32, 32, 32),
    "llama2-13b": llama(5120, 13824, 40, 40, 40),
    "llama2-70b": llama(8192, 28672, 64, 80, 8),
}


def table(first):
    """The cells of the rows of a table whose first column matches, without marks."""
    lines = [line for line in COSTS.splitlines() if re.match(rf"\| `{first}", line)]
    return [[cell.strip().strip("`") for cell in line.strip("| ").split("|")] for line in lines]


def read_at_each_limit():
    return [(int(r.replace(",", "")), float(c.split()[0]) * 1e6) for _, r, _, c in table("--eval-limit")]


def minutes(operations):
    spent = operations / 100e12 / 60
    return f"{spent:.0f} min" if spent < 90 else f"{spent / 60:.1f} h"


@pytest.mark.parametrize("name", CONFIGS)
def test_costs_follow_from_sizes_rows_and_tokens(name):
    config = CONFIGS[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    whole, blocks = (sum(w.numel() for w in part.parameters()) for part in (model, model.model.layers))
    stored = len(sampled_layers(config.num_hidden_layers, 2)) * config.hidden_size * 2
    reads = read_at_each_limit()
    wanted = [
        name, f"{config.num_hidden_layers}, {config.hidden_size:,}", f"{whole / 1e9:.1f} billion", f"{2 * whole / 1e9:.0f} GB",
        *(f"{rows * stored / 1e9:.1f} GB" for rows, _ in reads), *(minutes(2 * blocks * tokens) for _, tokens in reads),
    ]  # fmt: skip
    (found,) = table(name)
    assert len(reads) == 2 and found == wanted


def test_the_study_says_what_was_not_measured():
    assert "Nothing on this page was run on a GPU" in COSTS
    assert all(f"*{word}*" in COSTS for word in ("measured", "calculated", "estimated"))
