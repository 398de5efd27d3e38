"""Loading a model: which device, which dtype, whole or spread, and the check that its residual stream can be read."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import nn
from transformers.utils import logging

from probeshift.errors import OutOfMemoryError, UsageError, nearest
from probeshift.models.blocks import find_backbone, find_blocks
from probeshift.models.describing import ModelInfo, describe, load_tokenizer
from probeshift.models.fetching import plain_errors
from probeshift.models.language_model import LanguageModel
from probeshift.models.parity import check_parity

_DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
}
QUANTIZATIONS = ("8bit", "4bit")


def load_model(
    info: ModelInfo | str,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    device_map: str | dict | None = None,
    quantization: str | None = None,
    check: bool = True,
) -> LanguageModel:
    """The model with its weights, on one device or spread by `device_map`, and its tokenizer. `info` may be just a name.

    `quantization` is "8bit" or "4bit" (bitsandbytes). With `check` the residual stream read by hooks is compared with
    the model's own hidden states (`parity`).

    Raises:
        MissingError: the weights are not on this machine.
        UsageError: a dtype, device or quantisation that this machine or model cannot do.
        ParityError: the residual stream read by hooks is not the model's own.
        OutOfMemoryError: the model does not fit on the device.
    """
    info = describe(info) if isinstance(info, str) else info
    placed = choose_device(device)
    asked = choose_dtype(placed, dtype)
    options: dict[str, Any] = {_dtype_key(): asked, **_spread(placed, device_map, quantization, asked)}
    _keep_few_kernels()
    try:
        with _bars_on_terminals_only():
            module = _from_pretrained(info, options)
        if "device_map" not in options:
            module.to(placed)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"`{info.name}` in {asked} does not fit on {placed}. "
            "Spread it with --device-map auto, or load it with --quantization 4bit."
        ) from error
    model = _assemble(info, module.eval(), asked)
    if check:
        check_parity(model)
    return model


def _keep_few_kernels() -> None:
    """Bound what oneDNN keeps of the CPU kernels it compiles, some for every size of batch.

    By default it keeps 1,024, at about 0.7 MB each; a batch needs about ten. It reads this at its first product in bfloat16.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def choose_device(asked: str | torch.device = "auto") -> torch.device:
    """`auto` is the first of CUDA, MPS and CPU that is there.

    Raises:
        UsageError: the device asked for is not on this machine.
    """
    mps = torch.backends.mps.is_available()
    if str(asked) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise UsageError(f"device `{asked}` is unknown. Valid: auto, cpu, cuda, cuda:N, mps.") from error
    n_cuda = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_cuda:
        raise UsageError(f"device `{asked}` asked, but this machine has {n_cuda} CUDA devices. Use --device auto.")
    if device.type == "mps" and not mps:
        raise UsageError("device `mps` asked, but this machine has none. Use --device auto or cpu.")
    return device


def choose_dtype(device: torch.device, asked: str | torch.dtype = "auto") -> torch.dtype:
    """`auto` is bfloat16 where the device computes in it, else float32.

    Raises:
        UsageError: no such dtype, or not a floating-point one used for activations.
    """
    if isinstance(asked, torch.dtype):
        asked = str(asked).removeprefix("torch.")
    if asked == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    if asked not in _DTYPES:
        raise UsageError(f"dtype `{asked}` is unknown. {nearest(asked, [*_DTYPES, 'auto'])}")
    return _DTYPES[asked]


def _has_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 is computed in hardware; emulation is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0) or bool(torch.version.hip)
    if device.type == "cpu":
        tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, test, lambda: False)() for test in tests)
    return False


def _dtype_key() -> str:
    """transformers renamed the argument in 4.56."""
    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _spread(
    placed: torch.device, device_map: str | dict | None, quantization: str | None, dtype: torch.dtype
) -> dict[str, Any]:
    """The options for more than one device and for quantised weights."""
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise UsageError(f"quantization `{quantization}` is unknown. {nearest(quantization, QUANTIZATIONS)}")
    needed = (["accelerate"] if device_map or quantization else []) + (["bitsandbytes"] if quantization else [])
    absent = [package for package in needed if importlib.util.find_spec(package) is None]
    if absent:
        option = f"--quantization {quantization}" if quantization else "--device-map"
        raise UsageError(f"{option} needs {' and '.join(absent)}. Install with: pip install {' '.join(absent)}")
    options: dict[str, Any] = {"device_map": device_map} if device_map else {}
    if quantization:
        options.setdefault("device_map", {"": placed})
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_8bit=quantization == "8bit", load_in_4bit=quantization == "4bit", bnb_4bit_compute_dtype=dtype
        )
    return options


def _from_pretrained(info: ModelInfo, options: dict[str, Any]) -> nn.Module:
    """The weights. A checkpoint that lacks some is refused: transformers would fill them with random numbers."""
    with plain_errors(info.source, "the weights"):
        module, report = info.auto_class.from_pretrained(
            **info.load_from, config=info.config, output_loading_info=True, **options
        )
    # A pooler sits behind the last block and is never read.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing or report["mismatched_keys"]:
        shown = ", ".join(missing[:3]) or str(report["mismatched_keys"])
        raise UsageError(f"the checkpoint of `{info.location}` does not fit its config; missing or misshapen: {shown}.")
    return module


@contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    """No progress bars of transformers in logs and pipes."""
    hide = logging.is_progress_bar_enabled() and not sys.stderr.isatty()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def _assemble(info: ModelInfo, module: nn.Module, dtype: torch.dtype) -> LanguageModel:
    backbone = find_backbone(module)
    embedding = backbone.get_input_embeddings().weight  # type: ignore[operator]
    return LanguageModel(
        info=info,
        module=module,
        backbone=backbone,
        blocks=find_blocks(module),
        tokenizer=load_tokenizer(info),
        dtype=dtype,
        device=embedding.device,
        attention=str(backbone.config._attn_implementation),  # type: ignore[union-attr]
    )
