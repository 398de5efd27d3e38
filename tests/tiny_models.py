"""Tiny random models with a trained tokenizer, saved as real checkpoints: 4 blocks, residual width 64.

`build("llama", folder)` writes one; `shared("llama")` builds it once per test session and gives its folder.
`FAMILIES` lists the names. Weights are drawn from a fixed seed, wide enough that attention and position matter.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the hub's library is first imported

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PretrainedConfig, PreTrainedTokenizerFast

N_LAYERS = 4
D_MODEL = 64
VOCAB_SIZE = 400

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SENTENCES = (
    "The city of Paris is in France. The city of Tokyo is in Japan. The city of Lima is not in Norway.",
    "Two plus three equals five. Water is wet, fire is hot, and ice is cold. The answer is yes or no.",
    "user asked: is this statement true or false? assistant answered: it is true. system says: be honest.",
)
_SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": D_MODEL,
    "intermediate_size": 96,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_GEMMA = {**_GROUPED, "head_dim": 16, "sliding_window": 64}


_OPENAI_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
    "intermediate_size": "n_inner",
}
_OPENAI = {_OPENAI_NAMES.get(key, key): value for key, value in _SIZES.items()}


def _gemma3_multimodal() -> PretrainedConfig:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 6,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    special = {
        "image_token_index": VOCAB_SIZE - 1,
        "boi_token_index": VOCAB_SIZE - 2,
        "eoi_token_index": VOCAB_SIZE - 3,
    }
    return transformers.Gemma3Config(text_config=dict(_GEMMA), vision_config=vision, mm_tokens_per_image=4, **special)


_CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: transformers.LlamaConfig(**_GROUPED),
    "qwen2": lambda: transformers.Qwen2Config(**_GROUPED),
    "qwen3": lambda: transformers.Qwen3Config(**_GROUPED, head_dim=16),
    "gemma2": lambda: transformers.Gemma2Config(**_GEMMA),
    "gemma3": lambda: transformers.Gemma3TextConfig(**_GEMMA),
    "gemma3_multimodal": _gemma3_multimodal,
    "mistral": lambda: transformers.MistralConfig(**_GROUPED, sliding_window=64),
    "gpt2": lambda: transformers.GPT2Config(**_OPENAI),
    "gptj": lambda: transformers.GPTJConfig(**_OPENAI, rotary_dim=8),  # its blocks return a tuple
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**_SIZES),
    "phi": lambda: transformers.PhiConfig(**_SIZES),
    "bert": lambda: transformers.BertConfig(**_SIZES),
    "albert": lambda: transformers.AlbertConfig(**_SIZES, embedding_size=32),
}
FAMILIES = tuple(family for family in _CONFIGS if family != "albert")  # ALBERT shares one block: there to be refused


def build(family: str, folder: Path, *, chat: bool = True, seed: int = 0) -> Path:
    """Write a random model of a family and its tokenizer into `folder` (made if need be); returns the folder.

    Encoders and models built with `chat=False` have no chat template. Gemma's tokenizer puts `<|bos|>` in front of
    every text, and so does its template, as the real one does.
    """
    config = _CONFIGS[family]()
    encoder = family in ("bert", "albert")
    auto = transformers.AutoModel if encoder else transformers.AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = auto.from_config(config)
    model.save_pretrained(folder)
    tokenizer(bos=family.startswith("gemma"), cls_sep=encoder, chat=chat and not encoder).save_pretrained(folder)
    return Path(folder)


@functools.cache
def shared(family: str) -> Path:
    """The folder of a tiny model built once for the whole test session. Read it, never write into it."""
    folder = Path(tempfile.mkdtemp(prefix="probeshift-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build(family, folder / f"tiny-{family}")


def tokenizer(*, bos: bool = False, cls_sep: bool = False, chat: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on three lines, with ChatML special tokens and, with `chat`, its template."""
    specials = ["<|bos|>", "<|im_start|>", "<|im_end|>", "[CLS]", "[SEP]"]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        _SENTENCES,
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE - 8,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 0)])
    if cls_sep:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 3), ("[SEP]", 4)]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|bos|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        model_max_length=256,
    )
    if chat:
        made.chat_template = "{{ bos_token }}" * bos + CHATML
    return made
