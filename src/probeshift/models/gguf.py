"""A `.gguf` file is converted once into an ordinary checkpoint in the cache; every later load reads that.

transformers dequantises a GGUF on every load and asks for a further package to do it. The conversion keeps every value
exactly: weights are stored in the narrowest of bfloat16, float16 and float32 that loses none of them.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from filelock import FileLock
from safetensors import SafetensorError
from tokenizers import pre_tokenizers, processors
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from probeshift.errors import MissingError, UsageError
from probeshift.models.fetching import plain_errors
from probeshift.models.names import ModelSource
from probeshift.models.weights import remembered_hash
from probeshift.provenance import cache_root, cannot_write

_FORMAT = 2  # raise it when what the conversion writes changes
# Names llama.cpp gives to byte-level tokenizers that split every digit off before merging.
_SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
_log = logging.getLogger(__name__)


def converted_folder(source: ModelSource) -> Path:
    """The folder of an ordinary checkpoint holding what `source.gguf` holds, made on first use.

    Raises:
        MissingError: the `gguf` package is not installed.
        UsageError: the file's architecture is not known, or a weight is missing from it.
    """
    assert source.gguf is not None
    # Configs written by one major version of transformers are misread by the other (rope settings, tokenizer class).
    major = transformers.__version__.split(".")[0]
    folder = cache_root() / "models" / f"{remembered_hash(source.gguf)[:16]}-{_FORMAT}-transformers{major}"
    if folder.is_dir():
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise MissingError('reading a .gguf file needs another package. Install it: pip install "probeshift[gguf]"')
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                _convert(source, folder)
    except (OSError, SafetensorError) as error:
        failure = error if isinstance(error, OSError) else OSError(errno.EIO, str(error))
        raise cannot_write(folder, failure) from error
    return folder


def _convert(source: ModelSource, folder: Path) -> None:
    """Write the checkpoint beside its place, whole, then rename it."""
    _log.warning("converting %s once, into %s", source.gguf, folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    assert source.gguf is not None
    with plain_errors(source, "the GGUF file"):
        tokenizer, model = _tokenizer(source.gguf), _read(source.gguf)
    try:
        tokenizer.save_pretrained(temporary)
        model.to(_narrowest(model)).save_pretrained(temporary)  # type: ignore[operator]
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(file: Path) -> nn.Module:
    """The model in float32, every value as dequantised."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
    model = AutoModelForCausalLM.from_config(config).float()
    tensors = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=_named(model))["tensors"]
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if set(missing) - tied or unexpected:
        raise UsageError(f"{file} does not fit its own config: missing {missing}, unexpected {unexpected}.")
    model.tie_weights()  # type: ignore[operator]
    return model


def _named(model: Any) -> Any:
    """All that transformers asks of a model to map names, with no submodule but the base model.

    It builds the whole map anew for every submodule; names are those of the model or, in old files, of its base.
    """
    base = model.base_model
    parts = [] if base is model else [(model.base_model_prefix, _named_alone(base, ()))]
    return _named_alone(model, parts)


def _named_alone(model: Any, parts: Sequence[tuple[str, Any]]) -> Any:
    return SimpleNamespace(config=model.config, state_dict=model.state_dict, named_children=lambda: parts)


def _tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """The file's tokenizer as the file describes it.

    Versions of transformers differ in what they make of it (a BOS added, another end token, spaces tidied when
    decoding, digits not split), so special tokens, BOS and digit splitting are set from the file's own fields.
    """
    from gguf import GGUFReader

    backend = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).backend_tokenizer
    reader = GGUFReader(file)
    if _field(reader, "tokenizer.ggml.pre") in _SINGLE_DIGITS:
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_only])
    ids = {key: _field(reader, f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "unknown", "padding")}
    special = {key: backend.id_to_token(int(value)) for key, value in ids.items() if value is not None}
    adds_bos = _field(reader, "tokenizer.ggml.add_bos_token")
    if adds_bos is not None:
        bos = (special["bos"], ids["bos"])
        backend.post_processor = (
            processors.TemplateProcessing(single=f"{bos[0]}:0 $A:0", special_tokens=[bos])
            if adds_bos
            else processors.Sequence([])
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=special.get("bos"),
        eos_token=special.get("eos"),
        unk_token=special.get("unknown"),
        pad_token=special.get("padding", special.get("eos")),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _field(reader, "tokenizer.chat_template")
    return tokenizer


def _field(reader: Any, key: str) -> Any:
    """A metadata field of a GGUF file: text, number or truth value; None when the file does not have it."""
    field = reader.get_field(key)
    if field is None:
        return None
    part = field.parts[field.data[0]]
    return bytes(part).decode("utf-8") if field.types[0].name == "STRING" else part[0].item()


def _narrowest(model: nn.Module) -> torch.dtype:
    """The narrowest dtype that holds every weight exactly."""
    for dtype in (torch.bfloat16, torch.float16):
        if all(torch.equal(weight.to(dtype).float(), weight) for weight in model.parameters()):
            return dtype
    return torch.float32
