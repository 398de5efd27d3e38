# ruff: noqa: E501  (a template is one line)
"""Known post-instruction ids of chat model families: small tokenizers with the families' own ids and turn markers.

Ids are those of the published tokenizers. Words other than a family's markers are read letter by letter.
"""

import string

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from probeshift.models.post_instruction import find_post_instruction
from probeshift.models.prompts import PromptEncoder, PromptFormat

CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
QWEN = {"<|im_end|>": 151645, "\n": 198, "<|im_start|>": 151644, "assistant": 77091}
THINK = QWEN | {"<think>": 151667, "</think>": 151668, "\n\n": 271}
NO_THINK = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
LLAMA3 = "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
GEMMA = "<bos>{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
INST = "<s>{% for m in messages %}[INST] {{ m['content'] | trim }} [/INST]{% endfor %}"
PHI3 = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
PHI4 = "{% for m in messages %}<|im_start|>{{ m['role'] }}<|im_sep|>{{ m['content'] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}"
R1 = "{% for m in messages %}<｜User｜>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
OSS = "{% for m in messages %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"

FAMILIES = {
    "qwen2": (CHATML, QWEN, {}, (151645, 198, 151644, 77091, 198)),
    "qwen3, thinking": (NO_THINK, THINK, {}, (151645, 198, 151644, 77091, 198)),
    "qwen3, no thinking": (NO_THINK, THINK, {"enable_thinking": False}, (151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271)),
    "llama-3": (LLAMA3, {"<|begin_of_text|>": 128000, "<|eot_id|>": 128009, "<|start_header_id|>": 128006, "assistant": 78191,
                         "<|end_header_id|>": 128007, "\n\n": 271}, {}, (128009, 128006, 78191, 128007, 271)),
    "llama-2": (INST, {"<s>": 1, " [": 518, "/": 29914, "INST": 25580, "]": 29962}, {}, (518, 29914, 25580, 29962)),
    "mistral-7b-v0.2": (INST, {"<s>": 1, " [": 733, "/": 28748, "INST": 16289, "]": 28793}, {}, (733, 28748, 16289, 28793)),
    "gemma-2": (GEMMA, {"<bos>": 2, "<end_of_turn>": 107, "\n": 108, "<start_of_turn>": 106, "model": 2516}, {}, (107, 108, 106, 2516, 108)),
    "gemma-3": (GEMMA, {"<bos>": 2, "<end_of_turn>": 106, "\n": 107, "<start_of_turn>": 105, "model": 4368}, {}, (106, 107, 105, 4368, 107)),
    "smollm2": (CHATML, {"<|im_end|>": 2, "\n": 198, "<|im_start|>": 1, "ass": 520, "istant": 9531}, {}, (2, 198, 1, 520, 9531, 198)),
    "phi-3, newline swallowed": (PHI3, {"<|user|>\n": 32010, "<|end|>\n": 32007, "<|assistant|>\n": 32001}, {}, (32007, 32001)),
    "phi-4": (PHI4, {"<|im_end|>": 100265, "<|im_start|>": 100264, "assistant": 78191, "<|im_sep|>": 100266}, {},
              (100265, 100264, 78191, 100266)),
    "r1-distill-qwen": (R1, {"<｜User｜>": 151644, "<｜Assistant｜>": 151645, "<think>": 151648, "\n": 198}, {}, (151645, 151648, 198)),
    "gpt-oss": (OSS, {"<|end|>": 200007, "<|start|>": 200006, "<|message|>": 200008, "assistant": 173781}, {}, (200007, 200006, 173781)),
}  # fmt: skip


def family_tokenizer(template, pieces):
    """Longest piece first, every other letter a token of its own; ids of letters lie where no family has its markers."""
    letters = dict.fromkeys(string.ascii_letters + string.digits + string.punctuation + " \n")
    vocabulary = {letter: 300_000 + i for i, letter in enumerate(letters)} | pieces | {"<unk>": 299_999}
    pattern = "|".join(_escaped(piece) for piece in sorted(vocabulary, key=len, reverse=True))
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    bos = next((piece for piece in ("<s>", "<bos>", "<|begin_of_text|>") if piece in pieces), None)
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, unk_token="<unk>")
    made.chat_template = template
    return made


def _escaped(piece):
    return "".join(f"\\{c}" if c in string.punctuation else c for c in piece)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ids_of_a_family(family):
    template, pieces, options, ids = FAMILIES[family]
    made = family_tokenizer(template, pieces)
    post = find_post_instruction(made, **options)
    assert post.ids == ids
    prompts = list(PromptEncoder(made, PromptFormat("chat", template_kwargs=options)).encode(["Is it so?", " 12 "]))
    for prompt in prompts:  # every prompt ends in them, and the user's words end where they start
        assert tuple(prompt.ids[prompt.end :]) == ids
    words = made.decode(prompts[0].ids[prompts[0].start : prompts[0].end]).replace(" ", "")
    assert words == "Isitso?"


def test_one_wrong_id_is_noticed():
    """Sanity twin: the ids come from the tokenizer, not from a table of families."""
    template, pieces, _, ids = FAMILIES["qwen2"]
    other = find_post_instruction(family_tokenizer(template, pieces | {"assistant": 5}))
    assert other.ids == (*ids[:3], 5, ids[4])


def test_a_prompt_of_another_template_option_is_refused():
    """The tail of a thinking template is not the tail of one told not to think."""
    from probeshift.errors import UsageError

    template, pieces, options, _ = FAMILIES["qwen3, no thinking"]
    made = family_tokenizer(template, pieces)
    rendered = "<|im_start|>user\nIs it so?<|im_end|>\n<|im_start|>assistant\n"
    assert len(list(PromptEncoder(made, PromptFormat("formatted")).encode([rendered]))) == 1
    with pytest.raises(UsageError, match="not in the post-instruction tokens"):
        list(PromptEncoder(made, PromptFormat("formatted", template_kwargs=options)).encode([rendered]))
