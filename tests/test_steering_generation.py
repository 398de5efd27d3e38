"""Texts of a mixed batch are those of one row by itself, and a sweep loses nothing that is finished."""

import dataclasses
import functools
from collections import Counter

import pytest
import tiny_models
import torch
from test_steering_interventions import FAMILIES, a_vector, hooks

from probeshift.errors import StoreError, UsageError
from probeshift.models import load_model
from probeshift.steering import sweep as sweeping
from probeshift.steering.generation import Decoding, end_tokens, generate
from probeshift.steering.interventions import Intervention, steer
from probeshift.steering.likelihood import continuation_nll, kl_from_unsteered
from probeshift.steering.prompt_batch import shared_prefix
from probeshift.steering.sweep import Sweep, SweepSettings, Task, read_generations

GREEDY = Decoding(max_new_tokens=12)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return load_model(str(tiny_models.shared(request.param)), dtype="float32", device="cpu", check=False)


@pytest.fixture(scope="module")
def llama():
    return load_model(str(tiny_models.shared("llama")), dtype="float32", device="cpu", check=False)


def some_prompts(lengths, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [tuple(torch.randint(5, tiny_models.VOCAB_SIZE - 8, (n,), generator=draw).tolist()) for n in lengths]


def naive(model, prompt, intervention, n, positions="all", ends=None):
    """Greedy continuation of one row, the whole text read anew for every token: no cache, no padding."""
    ids, ends = list(prompt), end_tokens(model) if ends is None else ends
    with torch.inference_mode(), steer(model, [intervention], positions=positions, prompt_lengths=[len(prompt)]):
        while len(ids) < len(prompt) + n:
            token = int(model.module(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token in ends:
                break
            ids.append(token)
    return tuple(ids[len(prompt) :])


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
def test_a_mixed_batch_writes_what_each_row_writes_alone(model, positions):
    prompts = some_prompts((3, 7, 7, 4, 12))
    rows = [
        None,
        Intervention(a_vector(1), 4.0),
        Intervention(a_vector(2, layer=2), -4.0),
        Intervention(a_vector(3), 1.0, "ablate"),
        Intervention(a_vector(4), 6.0, "clamp"),
    ]
    together = generate(model, prompts, rows, decoding=GREEDY, positions=positions)
    for prompt, row, written in zip(prompts, rows, together, strict=True):
        assert written.ids == naive(model, prompt, row, 12, positions)


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
def test_what_prompts_share_is_read_once_and_changes_nothing(model, positions, monkeypatch):
    opening = some_prompts((35,), seed=9)[0]
    prompts = [(*opening, *own) for own in some_prompts((4, 9, 6))]
    rows = [
        row for row in (None, Intervention(a_vector(1), 4.0), Intervention(a_vector(2), 1.0, "ablate")) for _ in prompts
    ]
    read, plain = [], type(model.module).forward

    @functools.wraps(plain)  # its arguments are looked at
    def counting(self, *args, **kwargs):
        read.append(kwargs["input_ids"].numel())
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(type(model.module), "forward", counting)
    together = generate(model, prompts * 3, rows, decoding=GREEDY, positions=positions)
    monkeypatch.undo()
    for prompt, row, written in zip(prompts * 3, rows, together, strict=True):
        assert written.ids == naive(model, prompt, row, 12, positions)
    distinct = 1 if positions == "generated" else 3
    windowed = model.info.model_type.startswith("gemma")  # keys forgotten by distance: nothing is shared
    assert read[0] == (9 * (35 + 9) if windowed else distinct * 32)


def test_what_is_shared_depends_on_treatment_and_is_left_where_it_saves_nothing():
    opening = tuple(range(40))
    prompts = [(*opening, 50 + i, 1, 2, 3, 4) for i in range(4)]
    found = shared_prefix(prompts, ["a", "a", None, "a"])
    assert (found.length, found.leaders, found.groups) == (32, (0, 2), (0, 0, 1, 0))
    assert shared_prefix(prompts, list("abcd")) is None
    assert shared_prefix([p[::-1] for p in prompts], ["a"] * 4) is None
    assert shared_prefix([opening] * 3, [None] * 3).length == 32  # some tokens are left to each row


def test_steering_changes_what_is_written(llama):
    prompts = some_prompts((5, 5, 5))
    plain = generate(llama, prompts, [None] * 3, decoding=GREEDY)
    steered = generate(llama, prompts, [Intervention(a_vector(), 20.0)] * 3, decoding=GREEDY)
    zero = generate(llama, prompts, [Intervention(a_vector(), 0.0)] * 3, decoding=GREEDY)
    assert zero == plain != steered


def test_rows_that_end_leave_the_batch_and_the_others_go_on(llama, monkeypatch):
    prompts = some_prompts((4, 6, 6, 5, 6, 4, 6, 5))
    rows = [Intervention(a_vector(i), 3.0) for i in range(len(prompts))]
    free = [naive(llama, p, r, 12, ends=()) for p, r in zip(prompts, rows, strict=True)]
    often = Counter(token for text in free for token in text).most_common(1)[0][0]
    monkeypatch.setattr("probeshift.steering.generation.end_tokens", lambda model: frozenset({often}))
    found = generate(llama, prompts, rows, decoding=GREEDY)
    cut = [text[: text.index(often)] if often in text else text for text in free]
    assert [w.ids for w in found] == cut
    assert [w.ended for w in found] == [often in text for text in free]
    assert len({len(text) for text in cut}) > 2  # the twin: they do end at different steps


def test_sampling_does_not_depend_on_the_rows_beside(llama):
    decoding = Decoding(10, temperature=1.0)
    prompts, seeds = some_prompts((5, 8, 5)), [11, 12, 13]
    together = generate(llama, prompts, [None] * 3, decoding=decoding, seeds=seeds)
    alone = [generate(llama, [p], [None], decoding=decoding, seeds=[s])[0] for p, s in zip(prompts, seeds, strict=True)]
    assert together == alone
    assert generate(llama, prompts, [None] * 3, decoding=decoding, seeds=[1, 2, 3]) != together


def test_sampled_tokens_follow_the_models_probabilities(llama):
    prompt, n = some_prompts((5,))[0], 3000
    drawn = generate(llama, [prompt] * n, [None] * n, decoding=Decoding(1, temperature=2.0), seeds=range(n))
    counts = Counter(w.ids[0] if w.ids else None for w in drawn)
    with torch.inference_mode():
        p = torch.softmax(llama.module(torch.tensor([prompt])).logits[0, -1] / 2.0, -1)
    likeliest = int(p.argmax())
    expected = float(p[likeliest])
    assert abs(counts[likeliest] / n - expected) < 4 * (expected * (1 - expected) / n) ** 0.5  # four standard errors


def test_texts_longer_than_the_model_reads_are_refused_before_anything_runs(llama):
    with pytest.raises(UsageError, match="which reads 256"):
        generate(llama, some_prompts((250,)), [None], decoding=GREEDY)
    with pytest.raises(UsageError, match="needs a seed"):
        generate(llama, some_prompts((5,)), [None], decoding=Decoding(4, 1.0))
    with pytest.raises(UsageError, match="at least 1"):
        Decoding(0)


def tasks(n_concepts=2, n_strengths=2, lengths=(4, 6, 6)):
    prompts = some_prompts(lengths)
    vectors = [a_vector(c, concept=f"c{c}") for c in range(n_concepts)]
    chosen = [None, *(Intervention(v, 2.0 * s) for v in vectors for s in range(1, n_strengths + 1))]
    return [Task(f"p{i}", prompt, one) for one in chosen for i, prompt in enumerate(prompts)]


def a_sweep(model, folder, *, rows=4, **decoding):
    return Sweep(model, tasks(), SweepSettings(Decoding(6, **decoding), batch_rows=rows), folder)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_sweep_writes_the_same_texts_in_any_batches(llama, tmp_path, temperature):
    sweeps = [a_sweep(llama, tmp_path / str(rows), rows=rows, temperature=temperature).run() for rows in (1, 4, 64)]
    assert sweeps[0] == sweeps[1] == sweeps[2]
    about = [(g.prompt_id, g.concept, g.strength) for g in sweeps[0]]
    assert about[:4] == [("p0", None, None), ("p1", None, None), ("p2", None, None), ("p0", "c0", 2.0)]


def test_a_stopped_sweep_goes_on_with_what_is_missing(llama, tmp_path, monkeypatch):
    whole = a_sweep(llama, tmp_path / "whole").run()
    calls, real = [], sweeping.generate

    def stops_at_the_third(model, prompts, *args, **kwargs):
        calls.append(len(prompts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(model, prompts, *args, **kwargs)

    monkeypatch.setattr(sweeping, "generate", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        a_sweep(llama, tmp_path / "half").run()
    assert len(read_generations(tmp_path / "half")) == 8
    assert a_sweep(llama, tmp_path / "half").run() == whole
    assert sum(calls) == 4 * 3 + len(whole) - 8
    assert a_sweep(llama, tmp_path / "half").run() == whole
    assert sum(calls) == 4 * 3 + len(whole) - 8  # nothing is written twice
    assert hooks(llama) == hooks(load_model(llama.info, dtype="float32", device="cpu", check=False))


def test_a_text_is_not_reused_where_anything_it_depends_on_differs(llama, tmp_path):
    task = tasks()[4]
    base = SweepSettings(Decoding(6))
    one = task.intervention
    others = [
        (dataclasses.replace(task, intervention=Intervention(one.vector, 2.5)), base),
        (dataclasses.replace(task, intervention=Intervention(one.vector, 2.0, "clamp")), base),
        (dataclasses.replace(task, intervention=Intervention(a_vector(9, concept="c0"), 2.0)), base),
        (dataclasses.replace(task, intervention=None), base),
        (dataclasses.replace(task, prompt=task.prompt[1:]), base),
        (task, SweepSettings(Decoding(7))),
        (task, SweepSettings(Decoding(6), "prompt")),
        (task, SweepSettings(Decoding(6, 0.5))),
        (task, SweepSettings(Decoding(6, 0.5), seed=1)),
        (dataclasses.replace(task, sample=1), SweepSettings(Decoding(6, 0.5))),
    ]
    keys = [Sweep(llama, [t], s, tmp_path).keys[0] for t, s in [(task, base), *others]]
    assert len(set(keys)) == len(keys)
    assert Sweep(llama, [task], SweepSettings(Decoding(6), seed=5, batch_rows=7), tmp_path).keys[0] == keys[0]


def test_a_damaged_file_of_generations_is_named(llama, tmp_path):
    a_sweep(llama, tmp_path).run()
    path = next((tmp_path / "generations").glob("*.jsonl"))
    path.write_text("{")
    with pytest.raises(StoreError, match=path.name):
        a_sweep(llama, tmp_path).run()


def test_likelihood_is_that_of_the_continuation_alone(model):
    sequences, lengths = some_prompts((9, 5, 12, 4)), [3, 1, 0, 4]
    found = continuation_nll(model, sequences, lengths)
    assert found[3] is None
    for ids, length, nll in zip(sequences[:3], lengths[:3], found[:3], strict=True):
        with torch.inference_mode():
            log_p = torch.log_softmax(model.module(torch.tensor([ids])).logits[0].double(), -1)
        first = max(1, length)
        assert nll == pytest.approx(
            -float(sum(log_p[t - 1, ids[t]] for t in range(first, len(ids)))) / (len(ids) - first), rel=1e-4
        )


def test_kl_is_nothing_without_steering_and_grows_with_strength(model):
    sequences, lengths = some_prompts((9, 9, 7, 9)), [3, 3, 3, 3]
    vector = a_vector()
    rows = [None, Intervention(vector, 0.0), Intervention(vector, 1.0), Intervention(vector, 1.0)]
    none, zero, one, same = kl_from_unsteered(model, sequences, lengths, rows)
    assert none == zero == 0.0
    assert one > 0 and same > 0
    weak = kl_from_unsteered(model, sequences[3:], [3], [Intervention(vector, 0.01)])[0]
    assert weak < same / 10


def test_kl_is_computed_over_the_whole_vocabulary(llama):
    ids, one = some_prompts((8,))[0], Intervention(a_vector(), 1.0)
    with torch.inference_mode():
        q = torch.log_softmax(llama.module(torch.tensor([ids])).logits[0, 2:-1].double(), -1)
        with steer(llama, one):
            p = torch.log_softmax(llama.module(torch.tensor([ids])).logits[0, 2:-1].double(), -1)
    naive_kl = torch.nn.functional.kl_div(q, p, log_target=True, reduction="batchmean")
    assert kl_from_unsteered(llama, [ids], [3], [one])[0] == pytest.approx(float(naive_kl), rel=1e-4)
