"""Token positions by name: the tokens they mean, in every format of prompt, and what pooling computes."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_models
import torch
from extraction_worker import run, statements

from probeshift.errors import UsageError
from probeshift.extraction import ExtractionOptions, make_plan
from probeshift.extraction.pooling import PooledSpans
from probeshift.extraction.positions import resolve_positions
from probeshift.models import describe, find_post_instruction, load_model, load_tokenizer
from probeshift.models.prompts import PromptEncoder, PromptFormat

CHAT = PromptFormat("chat")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))


def tokenizer():
    return load_tokenizer(describe(str(tiny_models.shared("llama"))))


def plan_of(rows, **options):
    info = describe(str(tiny_models.shared("llama")))
    return make_plan(rows, info, load_tokenizer(info), ExtractionOptions((1,), "float32", **options))


def hidden_states(ids, layer, family="llama"):
    """[token, d_model] after a block, by the model's own account."""
    model = load_model(describe(str(tiny_models.shared(family))), dtype="float32", device="cpu")
    with torch.inference_mode():
        states = model.module(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    return states[layer + 1][0].numpy()


def test_every_position_is_the_token_it_names():
    names = ("post", "last", "content_last", "gen_start", "mean", "max", "-3")
    store = run(tiny_models.shared("llama"), 8, positions=names, prompts=CHAT)
    made, post = tokenizer(), find_post_instruction(tokenizer())
    assert store.positions[: post.n] == tuple(f"post[{i}]" for i in range(-post.n, 0))
    for row in (0, 1, 7):
        text = store.rows["text"][row]
        ids = made(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False).input_ids
        head = len(made("<|im_start|>user\n", add_special_tokens=False).input_ids)
        states = hidden_states(ids, 1)
        words = states[head : len(ids) - post.n]
        expected = {f"post[{i}]": states[i] for i in range(-post.n, 0)}
        expected |= {"last": states[-1], "content_last": words[-1], "gen_start": states[post.gen_start - post.n]}
        expected |= {"mean": words.mean(0), "max": words.max(0), "-3": states[-3]}
        assert set(expected) == set(store.positions)
        for name, vector in expected.items():
            np.testing.assert_allclose(store.read(1, name)[row], vector, atol=3e-5 * np.abs(states).max(), err_msg=name)


def test_pooling_over_a_shared_prefix_equals_pooling_over_the_whole(tmp_path, monkeypatch):
    names = ("max", "last", "mean")
    shared = run(tiny_models.shared("llama"), 24, positions=names)
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "plain"))
    plain = run(tiny_models.shared("llama"), 24, positions=names, reuse_prefixes=False)
    assert any(b["prefix"] for b in shared.plan["batches"]) and not any(b["prefix"] for b in plain.plan["batches"])
    for name in names:
        np.testing.assert_allclose(shared.read(3, name), plain.read(3, name), atol=1e-4)


def test_pooling_reads_its_span_only():
    hidden = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    pooled = PooledSpans(1, ("max", "mean"), [[(1, 1, 3), (0, 0, 4)]])
    pooled.add(0, 0, hidden)
    found = pooled.result(torch.float32)[0]
    torch.testing.assert_close(found[0], torch.stack([hidden[1, 1:3].amax(0), hidden[1, 1:3].mean(0)]))
    torch.testing.assert_close(found[1], torch.stack([hidden[0, :4].amax(0), hidden[0, :4].mean(0)]))
    outside = hidden.clone()
    outside[1, [0, 3, 4]] += 100.0
    outside[0, 4] += 100.0
    again = PooledSpans(1, ("max", "mean"), [[(1, 1, 3), (0, 0, 4)]])
    again.add(0, 0, outside)
    torch.testing.assert_close(again.result(torch.float32)[0], found)


def test_raw_text_pools_over_no_special_tokens():
    """An encoder's tokenizer puts one special token before the text and one behind it."""
    store = run(tiny_models.shared("bert"), 4, positions=("mean", "content_last", "last"))
    made = load_tokenizer(describe(str(tiny_models.shared("bert"))))
    ids = made(store.rows["text"][0]).input_ids
    assert len(ids) == len(made(store.rows["text"][0], add_special_tokens=False).input_ids) + 2
    states = hidden_states(ids, 2, "bert")
    for name, expected in {"mean": states[1:-1].mean(0), "content_last": states[-2], "last": states[-1]}.items():
        np.testing.assert_allclose(store.read(2, name)[0], expected, atol=1e-4, err_msg=name)


def test_post_instruction_tokens_count_from_either_end_and_appear_once():
    post = find_post_instruction(tokenizer())
    assert resolve_positions(["post[0]", f"post[-{post.n}]"], post) == (f"post[-{post.n}]",)
    assert resolve_positions(["post[1]", "last"], post) == (f"post[{1 - post.n}]", "last")


@pytest.mark.parametrize(
    ("asked", "chat", "told"),
    [
        (("lsat",), True, "Nearest: `last`"),
        (("post[9]",), True, "post-instruction tokens"),
        (("post",), False, "--use-chat-template"),
        ((), True, "no token position"),
        (("-0",), True, "not known"),
    ],
)
def test_unknown_positions_are_refused(asked, chat, told):
    with pytest.raises(UsageError, match=told):
        resolve_positions(asked, find_post_instruction(tokenizer()) if chat else None)


def test_a_prompt_too_short_for_a_position_is_named():
    with pytest.raises(UsageError, match=r"toy row 0-0 has \d+ tokens, so it has no position `-400`"):
        plan_of(statements(2), positions=("-400",))


def test_prompts_that_carry_the_template_are_not_given_it_twice():
    made = tokenizer()
    carrying = [f"<|im_start|>user\n{r.text}<|im_end|>\n<|im_start|>assistant\n" for r in statements(3)]
    with pytest.raises(UsageError, match="3 of 3 prompts already end as the chat template does"):
        list(PromptEncoder(made, CHAT).encode(carrying))
    formatted = list(PromptEncoder(made, PromptFormat("formatted")).encode(carrying))
    assert formatted == list(PromptEncoder(made, CHAT).encode([r.text for r in statements(3)]))


def test_a_prompt_that_does_not_end_in_the_template_is_named():
    texts = ["<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n", "hello"]
    with pytest.raises(UsageError, match="prompt 2 ends in"):
        list(PromptEncoder(tokenizer(), PromptFormat("formatted")).encode(texts))


def test_two_bos_tokens_are_refused():
    made = tokenizer()
    with pytest.raises(UsageError, match="two BOS tokens"):
        list(PromptEncoder(made, PromptFormat()).encode([f"{made.bos_token}{made.bos_token}hello"]))
    plain = PromptEncoder(made, PromptFormat(special_tokens=False))
    assert [p.ids[0] for p in plain.encode([f"{made.bos_token}hello"])] == [made.bos_token_id]


def test_a_base_model_has_no_template_to_apply():
    with pytest.raises(UsageError, match="base model"):
        PromptEncoder(tiny_models.tokenizer(chat=False), CHAT)


def test_cutting_a_templated_prompt_keeps_the_template_whole(caplog):
    rows = [replace(r, text=r.text * 3) for r in statements(6)]
    whole, cut = (plan_of(rows, prompts=CHAT, positions=("post", "mean"), max_tokens=n) for n in (None, 40))
    post = find_post_instruction(tokenizer())
    assert cut.truncated > 0 and "in the middle to 40 tokens" in caplog.text
    for row, was_cut in enumerate(cut.rows.truncated):
        ids = list(cut.sequences[cut.rows.sequences[row]])
        full = list(whole.sequences[whole.rows.sequences[row]])
        assert tuple(ids[-post.n :]) == post.ids and len(ids) <= 40
        start, end = cut.spans[cut.rows.sequences[row]]
        assert end == len(ids) - post.n and ids[:start] == full[:start]
        if was_cut:
            assert (
                ids[end - 5 : end] == full[-post.n - 5 : -post.n] and ids[start : start + 5] == full[start : start + 5]
            )


def test_raw_prompts_are_cut_from_the_left():
    """Sanity twin: without a template to keep, the end stays and the start goes."""
    whole, cut = (plan_of(statements(6), max_tokens=n) for n in (None, 20))
    assert cut.truncated > 0
    for row in range(6):
        ids, full = list(cut.sequences[cut.rows.sequences[row]]), list(whole.sequences[whole.rows.sequences[row]])
        assert ids[1:] == full[-19:] if cut.rows.truncated[row] else ids == full


def test_a_limit_shorter_than_the_template_is_refused():
    with pytest.raises(UsageError, match="no room for the user's words"):
        plan_of(statements(2), prompts=CHAT, max_tokens=8)


def test_another_template_option_is_another_store():
    plain, system = (plan_of(statements(3), prompts=p) for p in (CHAT, PromptFormat("chat", system="Be brief.")))
    assert plain.content_id != system.content_id
    assert system.header["prompts"]["system"] == "Be brief." and plain.header["prompts"]["template_hash"]


def test_numbers_to_predict_are_kept_as_they_are():
    rows = [replace(r, label=i / 7) for i, r in enumerate(statements(5))]
    store = run(tiny_models.shared("llama"), rows)
    np.testing.assert_allclose(store.targets, np.arange(5) / 7)
    with pytest.raises(Exception, match="numbers, not truth values"):
        _ = store.labels
