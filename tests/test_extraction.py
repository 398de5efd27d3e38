"""The engine reads what the model computes, resumes exactly, and never hands back anything stale, damaged or silent."""

import gc
import json
import logging
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from extraction_worker import run, statements

from probeshift.activations import ActivationStore, read_tensor, shard_paths, tensor_name, to_float32
from probeshift.errors import OutOfMemoryError, StoreError, UsageError
from probeshift.extraction import BatchReader, ExtractionOptions, extract, make_plan, plan, prepare
from probeshift.extraction.batching import Batch
from probeshift.models import describe, load_model, load_tokenizer
from probeshift.models.prompts import PromptFormat

WORKER = Path(__file__).with_name("extraction_worker.py")
NO_SPECIAL_TOKENS = PromptFormat(special_tokens=False)
DECODERS = [f for f in tiny_models.FAMILIES if f != "bert"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(plan.SHARD_TOKENS, "cpu", 1500)


def start(n, cache, *flags, family="llama"):
    environment = {**os.environ, "PROBESHIFT_CACHE": str(cache), "PYTHONPATH": str(WORKER.parent)}
    command = [sys.executable, str(WORKER), str(tiny_models.shared(family)), str(n), *flags]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def shard_bytes(cache):
    return {p.name: p.read_bytes() for p in Path(cache).glob("activations/*/*/shards/*.safetensors")}


def hidden_states(family, text):
    """The model's own hidden states of one text, plain transformers: [layer, d_model] at the last token."""
    info = describe(str(tiny_models.shared(family)))
    model = load_model(info, dtype="float32", device="cpu")
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        states = model.module(input_ids=ids, output_hidden_states=True).hidden_states
    return torch.stack([s[0, -1] for s in states[1:-1]]).numpy()  # the last entry is after the final norm


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_stored_activations_are_the_models_own_hidden_states(family):
    store = run(tiny_models.shared(family), 24)
    for row in (0, 1, 10, 23):
        expected = hidden_states(family, store.rows["text"][row])
        got = np.stack([store.read(layer)[row] for layer in range(len(expected))])
        # float32, batched and padded against alone: rounding only
        np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("family", DECODERS)
def test_a_cached_prefix_gives_the_plain_activations(family, tmp_path, monkeypatch):
    shared = run(tiny_models.shared(family), 24)
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "plain"))  # else the finished store answers
    plain = run(tiny_models.shared(family), 24, reuse_prefixes=False)
    assert any(b["prefix"] for b in shared.plan["batches"]) and not any(b["prefix"] for b in plain.plan["batches"])
    for layer in shared.layers:
        a, b = shared.read(layer), plain.read(layer)
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


def test_a_prefix_that_is_not_shared_is_noticed():
    """Sanity twin: what the run-time check compares does differ when the sharing is wrong."""
    info = describe(str(tiny_models.shared("llama")))
    sequences = [tuple(range(5, 45)), tuple(range(45, 85))]  # nothing in common
    reader = BatchReader(load_model(info, dtype="float32", device="cpu"), (0, 3), sequences, [(39,), (39,)])
    assert reader.prefix_difference(Batch(32, ((0, 1),))) > 0.01


def test_positions_inside_a_shared_prefix_are_read_too():
    info = describe(str(tiny_models.shared("llama")))
    stem = tuple(range(10, 50))
    sequences = [(*stem, 3, 4, 5, 6, 7), (*stem, 7, 6, 5, 4, 3)]
    reader = BatchReader(load_model(info, dtype="float32", device="cpu"), (1, 3), sequences, [(8, 44), (20, 41)])
    with torch.inference_mode():
        cached, plain = (reader.read(Batch(p, g)) for p, g in ((32, ((0, 1),)), (0, ((0,), (1,)))))
    torch.testing.assert_close(cached, plain, atol=1e-5, rtol=1e-5)
    assert cached.shape == (2, 2, 2, tiny_models.D_MODEL)


def test_repeated_texts_are_computed_once_and_read_for_every_row():
    rows = statements(6)
    info = describe(str(tiny_models.shared("llama")))
    twice = [*rows, *(replace(r, row_id=f"again {r.row_id}") for r in rows)]
    made = make_plan(twice, info, load_tokenizer(info), ExtractionOptions(layers=(1,), dtype="float32"))
    assert len(made.rows) == 12 and len(made.sequences) == 6


class Letters:
    """A tokenizer that no library version changes: one token a letter."""

    model_max_length, all_special_ids, bos_token_id = 10_000, (), None

    def __call__(self, texts, **_):
        ids = [[ord(letter) % 64 for letter in text] for text in texts]
        return {"input_ids": ids, "special_tokens_mask": [[0] * len(i) for i in ids]}


def letter_plan(rows, **options):
    info = replace(describe(str(tiny_models.shared("llama"))), name="toy", max_tokens=10_000)
    return make_plan(rows, info, Letters(), ExtractionOptions((0, 3), "float32", **options), {"weights": "w"})


def test_stores_of_earlier_versions_keep_their_names():
    """Whoever means to change a content id also raises FORMAT_VERSION; a plan id changes with how batches are cut."""
    whole, cut = letter_plan(statements(40)), letter_plan(statements(40), max_tokens=90)
    assert (whole.content_id, whole.plan_id) == ("5530a490e457bb256393c2f1", "2d226e17f8a1d52723257cda")
    assert (cut.content_id, cut.plan_id) == ("a1333e39180961adb2732766", "9a9f9433ad1fa862c571cc95")


def test_a_plan_keeps_little_of_a_row_beside_its_tokens():
    kept = {}
    for n in (500, 2500):
        rows = statements(n)
        tracemalloc.start()
        made = letter_plan(rows)
        gc.collect()
        kept[n] = tracemalloc.get_traced_memory()[0] - 4 * made.text_tokens
        tracemalloc.stop()
    assert (kept[2500] - kept[500]) / 2000 < 300, "a row's numbers and its place in a batch; its text is the caller's"


def test_a_killed_run_continues_to_the_same_bytes(tmp_path):
    code, _, _ = finish(start(400, tmp_path / "killed", "kill_after=2"))
    assert code == -9
    before = shard_bytes(tmp_path / "killed")
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "killed").glob("activations/*/*/shards/*.json")}
    assert finish(start(400, tmp_path / "killed"))[0] == 0
    assert finish(start(400, tmp_path / "whole"))[0] == 0
    resumed, whole = shard_bytes(tmp_path / "killed"), shard_bytes(tmp_path / "whole")
    assert 2 <= len(before) < len(whole) and resumed == whole
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in stamps.items()), "finished shards were made again"
    assert not list((tmp_path / "killed").glob("activations/*/*/shards/.*.tmp"))


def test_two_processes_on_one_store_share_the_work(tmp_path):
    both = [start(400, tmp_path / "both") for _ in range(2)]
    results = [finish(p) for p in both]
    assert [r[0] for r in results] == [0, 0], results
    assert finish(start(400, tmp_path / "one"))[0] == 0
    assert shard_bytes(tmp_path / "both") == shard_bytes(tmp_path / "one")


def test_a_damaged_shard_is_named_and_made_again(caplog):
    store = run(tiny_models.shared("llama"), 400)
    path, _ = shard_paths(store.folder, 1)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    others = {p: p.stat().st_mtime_ns for p in store.folder.glob("shards/*.safetensors") if p != path}
    with caplog.at_level(logging.WARNING):
        run(tiny_models.shared("llama"), 400)
    assert str(path) in caplog.text and "damaged" in caplog.text
    assert path.read_bytes() == good
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in others.items())


def test_a_finished_store_loads_no_model():
    folder = tiny_models.shared("llama")
    first = run(folder, 30)
    info = describe(str(folder))
    job = prepare(
        statements(30), info, load_tokenizer(info), ExtractionOptions(layers=(1, 2), dtype="float32"), label="toy-train"
    )
    assert job.tokens_left == 0

    def never():
        raise AssertionError("the model was loaded")

    assert extract(job, never).folder == first.folder, "fewer layers than stored are read from the same store"


@pytest.mark.parametrize("change", ["dtype", "weights", "text", "special_tokens"])
def test_a_changed_question_never_reuses_stale_rows(change, tmp_path):
    folder = tiny_models.build("gemma3", tmp_path / "model")
    first = run(folder, 20)
    if change == "weights":
        tiny_models.build("gemma3", folder, seed=1)
    options = {"dtype": {"dtype": "bfloat16"}, "special_tokens": {"prompts": NO_SPECIAL_TOKENS}}.get(change, {})
    rows = [replace(r, text="Now " + r.text) for r in statements(20)] if change == "text" else statements(20)
    second = run(folder, rows, **options)
    assert second.folder != first.folder
    assert not np.array_equal(second.read(2), first.read(2))


def test_a_finished_store_in_another_dtype_is_named_and_not_taken(caplog):
    folder = tiny_models.shared("llama")
    run(folder, 20, dtype="bfloat16")
    caplog.clear()
    with caplog.at_level("INFO", "probeshift"):
        assert run(folder, 20).dtype == "float32"
    assert "--dtype bfloat16 takes it" in caplog.text


def test_running_out_of_memory_halves_the_batch_and_goes_on(caplog):
    folder = tiny_models.shared("llama")
    expected = run(folder, 40, reuse_prefixes=False)
    info = describe(str(folder))
    options = ExtractionOptions(layers=(0, 1, 2, 3), dtype="float32", reuse_prefixes=False, batch_tokens=1024)

    def small_device():
        model = load_model(info, dtype="float32", device="cpu")

        def refuse(_module, _args, kwargs):
            if kwargs["input_ids"].shape[0] > 3:
                raise torch.OutOfMemoryError("device has room for three rows")

        model.backbone.register_forward_pre_hook(refuse, with_kwargs=True)
        return model

    job = prepare(statements(40), info, load_tokenizer(info), options, label="small")
    job = replace(job, finished=None)
    with caplog.at_level(logging.WARNING):
        store = extract(job, small_device)
    assert "halving" in caplog.text
    assert json.loads(shard_paths(store.folder, 0)[1].read_text())["memory_splits"] > 0
    np.testing.assert_allclose(store.read(3), expected.read(3), atol=1e-4)


@pytest.mark.parametrize(
    "full",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_no_memory_for_the_prefix_check_halves_batches_and_keeps_the_plan(full, caplog, tmp_path, monkeypatch):
    folder = tiny_models.shared("llama")
    expected = run(folder, 40, reuse_prefixes=False)
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "small"))  # else the finished store answers
    info = describe(str(folder))
    passes = []

    def small_device():
        model = load_model(info, dtype="float32", device="cpu")

        def refuse(_module, _args, kwargs):
            passes.append(kwargs["use_cache"])
            if kwargs["input_ids"].shape[0] > 1:
                raise full

        model.backbone.register_forward_pre_hook(refuse, with_kwargs=True)
        return model

    job = prepare(statements(40), info, load_tokenizer(info), ExtractionOptions((0, 1, 2, 3), "float32"), label="small")
    assert any(b.prefix for b in job.plan.batches)
    with caplog.at_level(logging.WARNING):
        store = extract(job, small_device)
    assert store.folder == job.folder, "lack of memory is no reason for another plan"
    assert "cannot reuse prefixes" not in caplog.text and "no memory to check" in caplog.text
    assert passes.count(True) <= 2, "sharing that was never checked was used"
    assert json.loads(shard_paths(store.folder, 0)[1].read_text())["memory_splits"] > 0
    np.testing.assert_allclose(store.read(3), expected.read(3), atol=1e-4)


def test_one_row_that_does_not_fit_is_an_error_with_a_way_out():
    info = describe(str(tiny_models.shared("llama")))
    model = load_model(info, dtype="float32", device="cpu")

    def refuse(*_):
        raise torch.OutOfMemoryError("full")

    model.backbone.register_forward_pre_hook(refuse)
    reader = BatchReader(model, (0,), [(1, 2, 3, 4)], [(3,)])
    with pytest.raises(OutOfMemoryError, match="--max-tokens") as caught:
        reader.read(Batch(0, ((0,),)))
    assert caught.value.exit_code == 5


def test_activations_that_overflow_are_refused_by_name(tmp_path):
    folder = tiny_models.build("llama", tmp_path / "model")
    info = describe(str(folder))

    def loud():
        model = load_model(info, dtype="float32", device="cpu")
        model.blocks[2].mlp.down_proj.weight.data.fill_(float("inf"))
        return model

    job = prepare(
        statements(4), info, load_tokenizer(info), ExtractionOptions(layers=(1, 2), dtype="float32"), label="toy"
    )
    with pytest.raises(StoreError, match="not finite at layer 2 for toy row"):
        extract(job, loud)


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path):
    code, _, err = finish(start(400, tmp_path / "full", "file_limit=20000"))
    assert code == 1 and "cannot write" in err and "Traceback" not in err
    assert finish(start(400, tmp_path / "full"))[0] == 0


def test_a_plan_larger_than_the_disk_is_refused_before_the_work(monkeypatch, tmp_path):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(StoreError, match="are free"):
        run(tiny_models.shared("llama"), 20)


def test_prompts_longer_than_the_context_are_refused_or_cut_and_counted(caplog):
    folder = tiny_models.shared("gemma3")  # its tokenizer puts BOS in front
    info = describe(str(folder))
    tokenizer = load_tokenizer(info)
    long = statements(1)[0]
    long = replace(long, text=long.text * 40, row_id="long")
    rows = [*statements(4), long]
    with pytest.raises(UsageError, match=r"1 of 5 prompts .* row long.* --max-tokens 256"):
        make_plan(rows, info, tokenizer, ExtractionOptions(layers=(1,), dtype="float32"))
    with caplog.at_level(logging.WARNING):
        made = make_plan(rows, info, tokenizer, ExtractionOptions(layers=(1,), dtype="float32", max_tokens=200))
    assert made.truncated == 1 and "1 of 5 prompts cut" in caplog.text
    cut, whole = made.sequences[made.rows[-1]["sequence"]], tokenizer(long.text)["input_ids"]
    assert len(cut) == 200 and cut[0] == whole[0] == tokenizer.bos_token_id and list(cut[1:]) == whole[-199:]
    assert [r["truncated"] for r in made.rows] == [False] * 4 + [True]


@pytest.mark.parametrize("layers", [(), (4,), (-2,)])
def test_layers_outside_the_model_are_refused(layers):
    info = describe(str(tiny_models.shared("llama")))
    with pytest.raises(UsageError, match="layers 0 to 3"):
        make_plan(statements(2), info, load_tokenizer(info), ExtractionOptions(layers=layers, dtype="float32"))


def test_an_unfinished_store_does_not_open(tmp_path):
    with pytest.raises(StoreError, match="no finished activation store"):
        ActivationStore.open(tmp_path)


def test_a_layer_that_was_not_stored_is_named():
    store = run(tiny_models.shared("llama"), 6, layers=(1, 3))
    with pytest.raises(StoreError, match=r"layer 2 is not .*stored: 1, 3"):
        store.read(2)


def test_bfloat16_shards_are_ordinary_safetensors_and_read_back_bitwise():
    from safetensors.torch import load_file

    store = run(tiny_models.shared("llama"), 10, dtype="bfloat16")
    path, _ = shard_paths(store.folder, 0)
    theirs = load_file(path)
    assert theirs[tensor_name(2)].dtype == torch.bfloat16
    np.testing.assert_array_equal(to_float32(read_tensor(path, tensor_name(2))), theirs[tensor_name(2)].float().numpy())
    np.testing.assert_array_equal(read_tensor(path, "sequence"), theirs["sequence"].numpy())


def test_peak_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    peaks = {n: int(finish(start(n, tmp_path / str(n), "shard_tokens=4000"))[1].split()[-1]) for n in (300, 3000)}
    assert peaks[3000] <= 1.1 * peaks[300], peaks


def test_deeper_blocks_do_not_run():
    info = describe(str(tiny_models.shared("llama")))
    model = load_model(info, dtype="float32", device="cpu")
    calls = []
    model.blocks[3].register_forward_hook(lambda *_: calls.append(3))
    reader = BatchReader(model, (0, 1), [tuple(range(5, 30))], [(24,)])
    reader.read(Batch(0, ((0,),)))
    assert calls == []


def test_prefix_reuse_is_tried_once_for_a_loaded_model_and_again_for_other_layers(tmp_path, monkeypatch):
    info = describe(str(tiny_models.shared("llama")))
    model, tried = load_model(info, dtype="float32", device="cpu"), []
    real = BatchReader.prefix_difference
    monkeypatch.setattr(BatchReader, "prefix_difference", lambda self, batch: tried.append(batch) or real(self, batch))

    def store(rows, layers):
        options = ExtractionOptions(layers, "float32")
        return extract(prepare(statements(rows), info, load_tokenizer(info), options, label="x"), lambda: model)

    first, second = store(40, (0, 1)), store(24, (0, 1))
    assert all(any(b["prefix"] for b in s.plan["batches"]) for s in (first, second)) and len(tried) == 1
    kept = [json.loads((s.folder / "prefix_check.json").read_text()) for s in (first, second)]
    assert [k.pop("measured_here") for k in kept] == [True, False]
    assert kept[0] == kept[1] and kept[0]["relative_difference"] < 1e-5
    store(24, (0, 3))
    assert len(tried) == 2, "what was tried reached layer 1 only"
    store(30, (1,))
    assert len(tried) == 3, "layer 1 was compared with layer 0 beside it, whose larger states could hide it"


def test_a_model_that_was_found_unable_to_share_does_not_share_later_either(tmp_path, monkeypatch):
    info = describe(str(tiny_models.shared("llama")))
    model = load_model(info, dtype="float32", device="cpu")
    monkeypatch.setattr(BatchReader, "prefix_difference", lambda self, batch: 0.5)
    options = ExtractionOptions((0, 1), "float32")
    for rows in (40, 24):
        job = prepare(statements(rows), info, load_tokenizer(info), options, label="x")
        store = extract(job, lambda: model)
        assert any(b.prefix for b in job.plan.batches) and not any(b["prefix"] for b in store.plan["batches"])
        monkeypatch.setattr(BatchReader, "prefix_difference", lambda self, batch: 1 / 0)  # not asked again
