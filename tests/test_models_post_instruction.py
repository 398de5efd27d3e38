"""Post-instruction tokens: known ids of real tokenizers, and every way a template can make them unknowable."""

import os
from pathlib import Path

import pytest
from tiny_models import CHATML, tokenizer

from probeshift.errors import UsageError
from probeshift.models.post_instruction import find_post_instruction, mark_tokens, render_prompt

REAL = Path(os.environ.get("PROBESHIFT_DATA", "../shared/data")) / "models" / "tokenizers"
ECHO = "{% for m in messages %}{{ m['content'] }} {{ m['content'] }}<|im_end|>{% endfor %}"
TAIL = "<|im_end|>{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"


def _real(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"the real tokenizer {name} is not on this machine (PROBESHIFT_DATA names its folder)")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(REAL / name)


def _with(template, **options):
    made = tokenizer(**options)
    made.chat_template = template
    return made


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("qwen2.5-vl-7b-instruct", (151645, 198, 151644, 77091, 198)),
        ("minueza-32m-chat", (32000, 28705, 13, 32001, 13892, 13)),
    ],
)
def test_the_ids_of_real_tokenizers(name, ids):
    post = find_post_instruction(_real(name))
    assert post is not None
    assert (post.ids, post.border_merge, post.strips) == (ids, False, False)


def test_a_base_model_has_none():
    assert find_post_instruction(_real("gpt2")) is None
    assert find_post_instruction(tokenizer(chat=False)) is None


def test_every_prompt_ends_in_them():
    made = tokenizer()
    post = find_post_instruction(made)
    for text in ("Is it true?", "ends in a space ", "line\n", "日本 42", "", "<|im_end|>"):
        ids = made(render_prompt(made, text), add_special_tokens=False).input_ids
        assert tuple(ids[-post.n :]) == post.ids


def test_the_generation_prompt_starts_where_the_template_without_it_ends():
    made = tokenizer()
    post = find_post_instruction(made)
    assert post.tokens[post.gen_start] == "<|im_start|>"
    assert post.gen_start == 2


def test_a_template_that_strips_is_recognised():
    assert find_post_instruction(_with(CHATML.replace("message['content']", "message['content'] | trim"))).strips
    assert not find_post_instruction(_with(CHATML)).strips


def test_a_token_across_the_border_counts_as_content():
    # One sentinel ends in "?", so "?e" lies across its border; the others end in letters and digits.
    made = _with("{% for m in messages %}{{ m['content'] }}e or no" + TAIL + "{% endfor %}")
    made.add_tokens(["?e"])
    post = find_post_instruction(made)
    assert post.border_merge
    assert post.ids == find_post_instruction(_with(made.chat_template)).ids[1:]


def test_without_offsets_the_common_suffix_is_the_same():
    slow = tokenizer()
    fast = find_post_instruction(slow)
    type_without_offsets = type("Slow", (type(slow),), {"is_fast": property(lambda self: False)})
    slow.__class__ = type_without_offsets
    assert find_post_instruction(slow).ids == fast.ids


def test_keyword_arguments_reach_the_template_and_are_recorded():
    closes = "{% if enable_thinking is false %}yes or no{% endif %}"
    thinking = CHATML.removesuffix("{% endif %}") + closes + "{% endif %}"
    made = _with(thinking)
    plain, closed = find_post_instruction(made), find_post_instruction(made, enable_thinking=False)
    assert closed.n > plain.n
    assert closed.ids[: plain.n] == plain.ids
    assert closed.kwargs == {"enable_thinking": False}


def test_a_system_message_comes_before_and_leaves_them_alone():
    made = tokenizer()
    assert find_post_instruction(made, system="be honest").ids == find_post_instruction(made).ids
    assert "be honest" in render_prompt(made, "Is it?", system="be honest")


def test_content_that_must_be_given_in_parts_is():
    parts = CHATML.replace("message['content']", "message['content'][0]['text']")
    post = find_post_instruction(_with(parts))
    assert post.parts
    assert post.ids == find_post_instruction(tokenizer()).ids


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (ECHO + TAIL, "repeats"),
        ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}" + TAIL, "changes or drops"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "no token behind"),
        ("{% for m in messages %}{{ m['content'] }}{{ m['content'] | length }}{% endfor %}" + TAIL, "different text"),
        ("{{ raise_exception('no user allowed') }}", "no user allowed"),
    ],
)
def test_a_template_that_hides_them_is_refused(template, told):
    with pytest.raises(UsageError, match=told):
        find_post_instruction(_with(template))


def test_two_bos_tokens_are_refused():
    with pytest.raises(UsageError, match="two BOS"):
        find_post_instruction(_with("{{ bos_token }}{{ bos_token }}" + CHATML))


def test_a_template_with_its_own_bos_gets_no_second_one():
    made = tokenizer(bos=True)
    ids = [row.id for row in mark_tokens(made, "Is it true?")]
    assert ids[0] == made.bos_token_id
    assert ids.count(made.bos_token_id) == 1


def test_marked_tokens_name_the_positions():
    made = tokenizer()
    rows, post = mark_tokens(made, "Is it true?"), find_post_instruction(made)
    assert [row.id for row in rows[-post.n :]] == list(post.ids)
    assert rows[-1].marks == ("-1", f"post[{post.n - 1}]")
    assert rows[-post.n - 1].marks == ("content_last",)
    assert "gen_start" in rows[-post.n + post.gen_start].marks
    assert not any(row.marks for row in rows[: -post.n - 1])


def test_a_base_models_last_token_is_marked():
    rows = mark_tokens(tokenizer(chat=False), "Is it true?")
    assert [row.marks for row in rows if row.marks] == [("-1",)]
    assert mark_tokens(tokenizer(chat=False), "") == []
