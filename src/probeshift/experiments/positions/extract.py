"""Activations of a table of questions at chosen layers and token positions, written as a store or as one tensor file."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeshift.datasets.targets import load_targets
from probeshift.errors import UsageError
from probeshift.experiments.inputs import ModelSettings, Settings, Workspace
from probeshift.layers import EMBEDDINGS, parse_layers

if TYPE_CHECKING:
    from probeshift.activations import ActivationStore
    from probeshift.extraction import Extraction
    from probeshift.models.prompts import PromptEncoder

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


class ExtractSettings(Settings):
    """What is read and where it goes."""

    model: ModelSettings
    dataset_path: Path
    """Table of questions with a label each: parquet, csv, tsv, json or jsonl."""
    output_path: Path
    """Where the activations go: a name ending in .pt is written as one tensor, any other as a store (a folder)."""
    question_column: str = "question"
    """Column that holds the questions."""
    label_column: str = "success_rate"
    """Column to predict: a number, or one of two values."""
    group_column: str | None = None
    """Column that names what must stay together when rows are held out."""
    true_label: str | None = None
    """The label that means true, when labels are two words."""
    layers: str = "all"
    """all (with the embeddings), embeddings, 0.75, -1 (the last), 4,8 or 0:32:2; blocks from 0."""
    positions: tuple[str, ...] = ()
    """Token positions instead of all post-instruction tokens: last, content_last, mean, max, post[-3], gen_start or -3."""
    eoi_tokens: int | None = None
    """Number of tokens at the end of the prompt to read; without it as many as the chat template puts behind the question."""
    use_chat_template: bool = False
    """Put each question through the model's chat template."""
    already_formatted: bool = False
    """The questions carry the chat template."""
    system: str | None = None
    """System message before each question."""
    template_kwargs: tuple[str, ...] = ()
    """Options of the chat template as name=value, such as enable_thinking=false."""
    max_samples: int | None = None
    """Read the first so many rows only."""


@dataclass(frozen=True)
class Reading:
    """A planned extraction and what was decided on the way, in words."""

    settings: ExtractSettings
    workspace: Workspace
    job: Extraction
    positions: tuple[str, ...]
    decisions: tuple[str, ...]


def open_reading(settings: ExtractSettings) -> Reading:
    """Read the table, decide how questions become prompts, and plan. Loads no weights.

    Raises:
        UsageError: a file, column, layer, position or template option that is not valid.
    """
    statements = load_targets(
        settings.dataset_path,
        question_column=settings.question_column,
        label_column=settings.label_column,
        group_column=settings.group_column,
        true_label=settings.true_label,
        max_samples=settings.max_samples,
    )
    workspace = Workspace(settings.model)
    encoder, positions, decisions = _decide(settings, workspace, [s.text for s in statements])
    options = workspace.options(_layers(settings.layers, workspace.info.n_layers))
    options = replace(options, positions=positions, prompts=encoder.format)
    job = workspace.plan(statements, options, label=statements[0].dataset)
    return Reading(settings, workspace, job, tuple(job.plan.header["positions"]), tuple(decisions))


def run_reading(reading: Reading, on_progress: Progress | None = None) -> ActivationStore:
    """Extract what is missing and write the output; returns the finished store.

    Raises:
        UsageError: something else is at the output path.
    """
    from probeshift.extraction import extract
    from probeshift.extraction.tensor_file import write_tensor_file

    path = reading.settings.output_path
    if path.suffix != ".pt":
        _check_free(path, reading.job.plan.content_id)
    with reading.workspace.loader() as load:
        store = extract(reading.job, load, on_progress=on_progress)
    if path.suffix == ".pt":
        write_tensor_file(store, path)
    else:
        _place(store.folder, path)
    return store


def plan_reading(reading: Reading) -> dict[str, Any]:
    """What the extraction will cost. Loads no weights."""
    from probeshift.extraction import estimate, plan_line
    from probeshift.provenance import cache_root

    left, header = reading.job.tokens_left, reading.job.plan.header
    cost = estimate(left, reading.workspace.info, reading.job.options)
    root = next(p for p in (cache_root(), *cache_root().parents) if p.exists())
    return {
        **plan_line(reading.job.plan), "layers": header["layers"], "positions": list(reading.positions), "tokens_left": left,
        "bytes_free": shutil.disk_usage(root).free, "seconds": cost.seconds, "seconds_basis": cost.basis,
        "memory_bytes": cost.memory_bytes, "tensor_file": reading.settings.output_path.suffix == ".pt",
    }  # fmt: skip


def _layers(text: str, n_layers: int) -> tuple[int, ...]:
    """Layers as for other commands, with the embeddings among `all` and by name: at a post-instruction token they are a control."""
    parts = [part.strip() for part in text.split(",")]
    blocks = [part for part in parts if part != "embeddings"]
    found = parse_layers(",".join(blocks), n_layers) if blocks else ()
    with_embeddings = "embeddings" in parts or "all" in parts
    return ((EMBEDDINGS,) if with_embeddings else ()) + found


def _decide(
    settings: ExtractSettings, workspace: Workspace, texts: Sequence[str]
) -> tuple[PromptEncoder, tuple[str, ...], list[str]]:
    """How questions become prompts, which positions are read, and both in words."""
    from probeshift.models.prompts import PromptEncoder, PromptFormat

    if settings.use_chat_template and settings.already_formatted:
        raise UsageError("--use-chat-template and --already-formatted exclude each other. Give one.")
    template = PromptFormat("formatted", settings.system, template_options(settings.template_kwargs))
    has_template = bool(workspace.tokenizer.chat_template)
    kind = "chat" if settings.use_chat_template else "formatted" if settings.already_formatted else "raw"
    templated = PromptEncoder(workspace.tokenizer, template) if has_template else None
    carrying = templated.carrying(texts) if templated else 0
    decisions = []
    if carrying == len(texts) and kind != "formatted":
        decisions.append(
            "the questions already carry the chat template; it is not applied again (--already-formatted says so)"
        )
        kind = "formatted"
    raw = PromptFormat(special_tokens=workspace.settings.special_tokens)
    chosen = raw if kind == "raw" else replace(template, kind="chat" if kind == "chat" else "formatted")
    encoder = PromptEncoder(workspace.tokenizer, chosen)
    if kind == "raw" and carrying:
        raise UsageError(
            f"{carrying} of {len(texts)} questions carry the chat template and the others do not. Separate the two kinds."
        )
    n_post = templated.post.n if templated and templated.post else 0
    decisions += [*_told(encoder, n_post, settings), *_dated(encoder)]
    return encoder, settings.positions or _last_tokens(encoder, settings.eoi_tokens, n_post), decisions


def _last_tokens(encoder: PromptEncoder, asked: int | None, n_post: int) -> tuple[str, ...]:
    """The last tokens of the prompt: named post-instruction tokens as far as they are proved to be."""
    if asked is not None and asked < 1:
        raise UsageError(f"--eoi-tokens must be at least 1, got {asked}.")
    n = asked or n_post or 1
    proved = encoder.post.n if encoder.post else 0
    return tuple(f"post[-{k}]" if k <= proved else f"-{k}" for k in range(n, 0, -1))


def _told(encoder: PromptEncoder, n_post: int, settings: ExtractSettings) -> list[str]:
    if encoder.post:
        return [f"{encoder.post.n} post-instruction tokens: {encoder.post.tail!r}"]
    if settings.positions:
        return []
    if not n_post:
        return ["this model has no chat template (a base model): the last token of each question is read"]
    log.warning("the questions are raw text: their last tokens are read, which are no post-instruction tokens")
    return ["raw questions without the chat template; add --use-chat-template to read post-instruction tokens"]


def _dated(encoder: PromptEncoder) -> list[str]:
    """A template that writes the day of the run makes other prompts tomorrow."""
    given = "date_string" in encoder.format.template_kwargs
    if encoder.format.kind != "chat" or given or "strftime_now" not in str(encoder.tokenizer.chat_template):
        return []
    return [
        "the chat template writes today's date; pin it, for instance with --template-kwargs 'date_string=26 Jul 2024'"
    ]


def template_options(given: Sequence[str]) -> dict[str, Any]:
    """Options of a chat template from `name=value`; true and false are truth values.

    Raises:
        UsageError: there is no `=`.
    """
    found: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(
                f"--template-kwargs `{item}` is not understood. Write name=value, such as enable_thinking=false."
            )
        found[name.strip()] = {"true": True, "false": False}.get(value.strip().lower(), value.strip())
    return found


def _check_free(path: Path, content_id: str) -> None:
    """Whether a store may be put there: nothing is there, or the same content."""
    from probeshift.activations import ActivationStore

    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / "index.json").exists() or ActivationStore.open(path).plan["content_id"] != content_id:
        raise UsageError(f"{path} already holds something else. Choose another --output-path, or delete it.")


def _place(folder: Path, path: Path) -> None:
    """The finished store at the path the user named: the same files where the disk can link them, else copies."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.copytree(folder, temporary, copy_function=_link, ignore=shutil.ignore_patterns("*.lock", ".*.tmp"))
    shutil.rmtree(path, ignore_errors=True)
    os.replace(temporary, path)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
