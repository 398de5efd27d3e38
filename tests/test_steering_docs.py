"""The examples of docs/steering.md run, one after the other, and the page knows every operator, map and option."""

import re
from pathlib import Path

import pytest
import tiny_models
import torch
from test_steering_interventions import a_vector
from typer.main import get_command

from probeshift.cli import app
from probeshift.datasets import FACTS_DATASETS, load_dataset
from probeshift.models import load_model
from probeshift.models.rotation import random_rotation, save_rotated
from probeshift.steering.contrasts import TOKENS
from probeshift.steering.interventions import OPERATORS, POSITIONS
from probeshift.steering.maps import MAPS

PAGE = (Path(__file__).parent.parent / "docs" / "steering.md").read_text()


def test_the_examples_run_on_a_tiny_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, apply, carry = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    space: dict = {}
    exec(make.replace("smollm2-135m", str(tiny_models.shared("llama"))).replace("15", "1"), space)
    assert (tmp_path / "vectors.safetensors").is_file()
    space |= {"vector": space["vectors"]["uppercase"], "other": a_vector(), "input_ids": torch.tensor([[7, 8, 9]] * 3)}
    exec(apply, space)
    rotated = save_rotated(space["model"], tmp_path / "rotated", random_rotation(64))
    texts = [s.text for s in load_dataset(FACTS_DATASETS[0]).statements[:60]]
    space |= {"source": space["model"], "target": load_model(str(rotated)), "texts": texts}
    exec(carry.replace("15", "1"), space)
    assert space["carried"]["uppercase"].max_activation > 0


@pytest.mark.parametrize("name", [*OPERATORS, *POSITIONS, *TOKENS, *(method.name for method in MAPS)])
def test_the_page_names_every_operator_position_and_map(name):
    assert f"`{name}`" in PAGE


def test_the_page_uses_options_that_exist():
    known = {name for p in get_command(app).commands["steer"].params for name in p.opts}
    assert set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", PAGE)) <= {*known, "--help"}
