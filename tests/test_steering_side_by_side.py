"""Batches at the same time write what they write one after the other, and leave nothing behind."""

import threading

import pytest
import tiny_models
import torch
from test_steering_generation import GREEDY, a_sweep, some_prompts, tasks
from test_steering_interventions import FAMILIES, a_vector, hooks
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from probeshift.models import load_model, twin
from probeshift.steering import side_by_side as beside
from probeshift.steering.generation import generate
from probeshift.steering.interventions import Intervention, steer
from probeshift.steering.side_by_side import n_at_once, side_by_side
from probeshift.steering.sweep import Sweep, SweepSettings


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return load_model(str(tiny_models.shared(request.param)), dtype="float32", device="cpu", check=False)


@pytest.fixture(scope="module")
def llama():
    return load_model(str(tiny_models.shared("llama")), dtype="float32", device="cpu", check=False)


@pytest.fixture
def two_threads(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(beside, "MIN_ROWS", 2)
    yield
    torch.set_num_threads(before)


def logits(model, ids):
    with torch.inference_mode():
        return model.module(ids, use_cache=False).logits


def test_a_twin_has_the_same_weights_and_hooks_of_its_own(model):
    ids, other = torch.tensor(some_prompts((7,))), twin(model)
    plain = logits(model, ids)
    assert {t.data_ptr() for t in other.module.parameters()} == {t.data_ptr() for t in model.module.parameters()}
    assert not {id(m) for m in other.module.modules()} & {id(m) for m in model.module.modules()}
    assert other.blocks == [m for m in other.module.modules() if m in other.blocks]
    with steer(other, Intervention(a_vector(), 4.0)):
        assert torch.equal(logits(model, ids), plain)
        assert not torch.equal(logits(other, ids), plain)
    assert torch.equal(logits(other, ids), plain)


def test_two_steered_batches_at_the_same_time_write_what_each_writes_alone(model, two_threads):
    prompts = some_prompts((4, 6, 6, 9))
    batches = [[Intervention(a_vector(i), 3.0)] * 4 for i in range(4)]
    alone = [generate(model, prompts, rows, decoding=GREEDY) for rows in batches]
    meet = threading.Barrier(2)  # the first two really run at once

    def work(own, number):
        if number < 2:
            meet.wait(timeout=60)
        return number, generate(own, prompts, batches[number], decoding=GREEDY)

    fused = ALL_ATTENTION_FUNCTIONS["sdpa"]
    found = dict(side_by_side(model, range(4), work, at_once=2))
    assert [found[i] for i in range(4)] == alone
    assert alone[0] != alone[1], "steering does nothing"
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is fused and torch.get_num_threads() == 2


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_sweep_at_once_writes_the_texts_of_one_after_the_other(
    llama, tmp_path, two_threads, monkeypatch, temperature
):
    assert n_at_once(llama, len(tasks())) == 2
    both = a_sweep(llama, tmp_path / "both", temperature=temperature).run()
    monkeypatch.setattr(beside, "MIN_ROWS", 1000)
    assert n_at_once(llama, len(tasks())) == 1
    assert a_sweep(llama, tmp_path / "one", temperature=temperature).run() == both
    assert hooks(llama) == hooks(load_model(llama.info, dtype="float32", device="cpu", check=False))


def test_an_interrupt_ends_running_batches_and_the_sweep_goes_on_later(llama, tmp_path, two_threads):
    whole = a_sweep(llama, tmp_path / "whole", rows=2).run()
    sweep = a_sweep(llama, tmp_path / "half", rows=2)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.run(interrupt)
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPool")]
    assert 0 < len(list((tmp_path / "half" / "generations").iterdir())) < 8
    assert a_sweep(llama, tmp_path / "half", rows=2).run() == whole
    assert torch.get_num_threads() == 2


def test_a_running_batch_ends_at_its_next_forward_pass(llama, two_threads):
    ids, passes = torch.tensor(some_prompts((5,))), []

    def work(own, number):
        if number == 1:
            return number
        for _ in range(100_000):  # far longer than anybody waits
            passes.append(logits(own, ids))

    for number in side_by_side(llama, [0, 1], work, at_once=2):
        assert number == 1
        break
    assert len(passes) < 100_000


def test_an_error_in_one_batch_is_told(llama, two_threads):
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(llama, [1, 0], lambda own, number: 1 / number, at_once=2))


def test_a_model_steered_from_outside_runs_one_batch_at_a_time(llama, tmp_path, two_threads):
    outer = Intervention(a_vector(5), 3.0)
    lengths = [len(t.prompt) for t in tasks()]
    with steer(llama, outer):
        assert n_at_once(llama, len(lengths)) == 1
        inside = Sweep(llama, tasks(), SweepSettings(GREEDY), tmp_path / "in").run()
    assert n_at_once(llama, len(lengths)) == 2
    assert [g.ids for g in inside] != [
        g.ids for g in Sweep(llama, tasks(), SweepSettings(GREEDY), tmp_path / "out").run()
    ]
