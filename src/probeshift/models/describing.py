"""Everything known about a model before any weight is loaded: config, sizes, tokenizer, hashes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from probeshift.errors import MissingError, UsageError
from probeshift.models.blocks import find_blocks
from probeshift.models.fetching import fetch, how_to_fetch, plain_errors
from probeshift.models.gguf import converted_folder
from probeshift.models.names import ModelSource, resolve
from probeshift.models.weights import cached_snapshot, hash_files, remembered_hash, weight_files
from probeshift.provenance import sha256_json, sha256_text


@dataclass(frozen=True)
class ModelInfo:
    """A model, not yet loaded.

    `location` is a hub id or a folder, `revision` the hub commit (None for a folder), `causal` whether a token sees
    only the tokens before it, `max_tokens` the longest input by the config (None = not said; the tokenizer may allow
    fewer).
    """

    name: str
    location: str
    revision: str | None
    gguf: Path | None
    config: PretrainedConfig
    n_layers: int
    d_model: int
    vocab_size: int
    causal: bool
    max_tokens: int | None
    model_type: str
    config_hash: str
    trust_remote_code: bool = False

    @property
    def source(self) -> ModelSource:
        """Where it is, as `resolve` gave it."""
        return ModelSource(self.name, self.location, self.gguf)

    @property
    def folder(self) -> Path | None:
        """The checkpoint on this machine (of a hub model: its snapshot in the cache); None without weights."""
        folder = Path(self.location)
        if not folder.is_dir():
            folder = cached_snapshot(self.location, self.revision) or folder
        return folder if weight_files(folder) else None

    @property
    def load_from(self) -> dict[str, Any]:
        """The arguments that tell transformers where to load from: the folder if whole, since it needs no network."""
        folder = self.folder
        where = {"revision": self.revision or "main"} if folder is None else {}
        place = str(folder or self.location)
        return {"pretrained_model_name_or_path": place, "trust_remote_code": self.trust_remote_code, **where}

    @cached_property
    def auto_class(self) -> Any:
        """The transformers class that loads it: with a language-model head where the checkpoint has one."""
        kind = type(self.config)
        names = " ".join(self.config.architectures or ["ForCausalLM"])
        has_head = any(end in names for end in ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))
        if not (self.causal and has_head):
            return AutoModel
        own_code = getattr(self.config, "auto_map", None) or {}
        if "AutoModelForCausalLM" in own_code or kind in MODEL_FOR_CAUSAL_LM_MAPPING:
            return AutoModelForCausalLM
        return AutoModelForImageTextToText if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING else AutoModel


@dataclass(frozen=True)
class ParameterCounts:
    """Number of weights: `body` inside the blocks, `total` with embeddings and head (tied ones counted once)."""

    body: int
    total: int


def describe(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> ModelInfo:
    """What is known about a model from its config alone. A `.gguf` file is converted on first use (see `gguf`).

    Raises:
        UsageError: no such name or folder, an encoder-decoder, or a family that transformers does not know.
        MissingError: a valid hub id that is not on this machine and cannot be fetched.
    """
    source = resolve(name)
    location = str(converted_folder(source)) if source.gguf else source.location
    snapshot = None if source.is_local else cached_snapshot(location, revision)
    with plain_errors(source, "the config"):
        # A model in the hub cache is taken as it is: the same commit every time, no waiting for an absent network.
        config = AutoConfig.from_pretrained(
            str(snapshot or location), revision=revision or "main", trust_remote_code=trust_remote_code
        )
    text = config.get_text_config()
    if config.is_encoder_decoder:
        raise UsageError(f"`{name}` is an encoder-decoder ({config.model_type}): it has two residual streams, not one.")
    return ModelInfo(
        name=source.name,
        location=location,
        revision=snapshot.name if snapshot else getattr(config, "_commit_hash", None),
        gguf=source.gguf,
        config=config,
        n_layers=text.num_hidden_layers,
        d_model=text.hidden_size,
        vocab_size=text.vocab_size,
        causal=_is_causal(config),
        max_tokens=getattr(text, "max_position_embeddings", None),
        model_type=config.model_type,
        config_hash=_config_hash(str(snapshot or location), config),
        trust_remote_code=trust_remote_code,
    )


def load_tokenizer(info: ModelInfo) -> PreTrainedTokenizerBase:
    """The model's tokenizer, set to pad on the right (with its end token where it has no padding token of its own).

    Raises:
        MissingError: the tokenizer's files are not on this machine.
    """
    with plain_errors(info.source, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(**info.load_from)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def weight_hash(info: ModelInfo) -> str:
    """Hex sha256 over the weight files (of a converted GGUF: over the `.gguf` file); fetched if there is a network.

    Raises:
        MissingError: the weights are not on this machine and cannot be fetched.
    """
    if info.gguf:
        return remembered_hash(info.gguf)
    if info.folder is None:
        fetch(info.source, info.revision)
    if info.folder is None:
        raise MissingError(f"the weights of `{info.location}` are not on this machine. {how_to_fetch(info.source)}")
    return hash_files(weight_files(info.folder))


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hex sha256 over vocabulary, rules and special tokens: the same in every process, blind to padding settings."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {"vocab": tokenizer.get_vocab()}
    rules.pop("padding", None)
    rules.pop("truncation", None)
    special = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    return sha256_json([rules, special])


def template_hash(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Hex sha256 of the chat template's text; None for a base model, which has none."""
    return sha256_text(tokenizer.get_chat_template()) if tokenizer.chat_template else None


def parameter_counts(info: ModelInfo) -> ParameterCounts:
    """How many weights the model has, from its config: nothing is loaded or allocated."""
    with plain_errors(info.source, "the config"), torch.device("meta"):
        module = info.auto_class.from_config(info.config, trust_remote_code=info.trust_remote_code)
    module.tie_weights()
    body = sum(weight.numel() for block in find_blocks(module) for weight in block.parameters())
    return ParameterCounts(body=body, total=sum(weight.numel() for weight in module.parameters()))


def _is_causal(config: PretrainedConfig) -> bool:
    """Encoders (families with a masked-LM head) are not, unless set up as decoders; nor are bidirectional variants."""
    text = config.get_text_config()
    if type(text) in MODEL_FOR_MASKED_LM_MAPPING:
        return bool(getattr(text, "is_decoder", False))
    bidirectional = getattr(text, "use_bidirectional_attention", None) in (True, "all")
    return not bidirectional and getattr(text, "is_causal", True) is not False


def _config_hash(place: str, config: PretrainedConfig) -> str:
    """Over what config.json says of the model, not who wrote it, where it lies or which version read it."""
    revision = getattr(config, "_commit_hash", None) or "main"
    said, _ = PretrainedConfig.get_config_dict(place, revision=revision)
    volatile = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "_commit_hash")
    return sha256_json({key: value for key, value in said.items() if key not in volatile})
