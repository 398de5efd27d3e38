"""score: what a saved probe says of texts, from a file or a stream to a file or a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from probeshift.errors import UsageError
from probeshift.experiments.inputs import ModelSettings, Settings, Workspace
from probeshift.provenance import environment, sha256_json

if TYPE_CHECKING:
    from probeshift.extraction import ExtractionOptions
    from probeshift.models.prompts import PromptFormat
    from probeshift.saved_probes import SavedProbe
    from probeshift.scoring import Score
    from probeshift.scoring.texts import TextRow

OnRows = Callable[[int], None]  # rows so far


class ProbeModelSettings(ModelSettings):
    """How the probe's own model is loaded and run."""

    model: str = ""
    """Where the probe's model is, if not under the name in its card: short name, hub id, local folder or .gguf file."""
    dtype: str = "as fitted"
    """float32, bfloat16 or float16, if not as in the probe's card."""


class ScoreSettings(Settings):
    """Which probe reads which texts, and where its scores go."""

    probe: Path
    """Probe file (probes/<method>/<train>.safetensors), or the folder of a `probeshift train` run for the probe chosen there."""
    layer: int | None = None
    """The probe's layer, where its file holds several."""
    input: Path | None = None
    """Texts: txt (one a line), jsonl, csv, tsv, parquet or json; without it, standard input."""
    format: Literal["lines", "jsonl"] = "lines"
    """What standard input holds: plain lines, or a JSON object a line."""
    text_column: str = "text"
    """Column that holds the texts."""
    keep: tuple[str, ...] = ()
    """Columns of the input to carry over."""
    output: Path | None = None
    """Where the scores go: .jsonl, .csv or .parquet; without it, JSON lines on standard output."""
    tokens: bool = False
    """Score every token of the prompt too."""
    with_text: bool = False
    """Write the text beside its score."""
    read_layer: int | None = None
    """Read another layer than the probe's (needs --force layer)."""
    position: str | None = None
    """Read another position than the probe's (needs --force position)."""
    prompts: Literal["as fitted", "raw", "chat", "formatted"] = "as fitted"
    """How texts become prompts; "formatted": they carry the chat template already."""
    force: tuple[str, ...] = ()
    """Differences to ignore, separated by commas: model, layer, position, template, dtype."""
    rows_at_once: int = 4096
    """Texts held in memory together."""


@dataclass(frozen=True)
class Scoring:
    """An opened job: the probe, how its texts are read, and the model before any weight is loaded."""

    settings: ScoreSettings
    saved: SavedProbe
    workspace: Workspace
    options: ExtractionOptions

    def about(self) -> dict[str, Any]:
        """What the columns of the output mean, and what was ignored."""
        read = {
            "model": self.workspace.info.name,
            "model_weights": self.workspace.identity["weights"],
            "layer": self.options.layers[0],
            "position": self.options.positions[0],
            "prompts": self.options.prompts.kind,
            "dtype": self.options.dtype,
        }
        return {"fitted": self.saved.about(), "read": read, "ignored": list(self.settings.force), "made": environment()}


def open_scoring(settings: ScoreSettings, model: dict[str, Any]) -> Scoring:
    """Find the probe and plan how texts are read. Loads no weights. `model` holds the model settings that were given.

    Raises:
        UsageError: no such probe, layer or model, or one that does not fit and is not forced.
    """
    from probeshift.saved_probes import open_probe

    saved = open_probe(settings.probe, settings.layer)
    if settings.rows_at_once < 1:
        raise UsageError(f"--rows-at-once must be at least 1, got {settings.rows_at_once}.")
    dtype = saved.card.dtype if saved.card.dtype in ("float32", "bfloat16", "float16") else "auto"
    defaults = {"model": saved.card.model, "dtype": dtype, "quantization": saved.card.quantization}
    workspace = Workspace(ModelSettings(**{**defaults, **model}))
    if "model" not in model:
        _find(saved.card.model)
    scoring = Scoring(settings, saved, workspace, _options(settings, saved, workspace))
    _check(scoring)
    return scoring


def _find(name: str) -> None:
    """A probe of a local folder knows its model by name only."""
    from probeshift.models.names import resolve

    try:
        resolve(name)
    except UsageError as error:
        raise UsageError(
            f"the probe was fitted on `{name}`, which has no such name here. Say where it is with --model."
        ) from error


def _options(settings: ScoreSettings, saved: SavedProbe, workspace: Workspace) -> ExtractionOptions:
    layer = saved.probe.layer if settings.read_layer is None else settings.read_layer
    position = settings.position or saved.card.position
    options = workspace.options((layer,))
    return replace(options, positions=(position,), prompts=_prompts(settings, saved, options.prompts))


def _prompts(settings: ScoreSettings, saved: SavedProbe, raw: PromptFormat) -> PromptFormat:
    from probeshift.scoring.scorer import prompts_of

    was = prompts_of(saved)
    if settings.prompts == "as fitted":
        return was if was.kind != "raw" or not was.special_tokens else raw
    return raw if settings.prompts == "raw" else replace(was, kind=settings.prompts)


def _check(scoring: Scoring) -> None:
    """Before weights are loaded: what would be refused then."""
    from probeshift.scoring.scorer import check

    w = scoring.workspace
    check(scoring.saved, w.info, w.tokenizer, scoring.options, w.identity["weights"], scoring.settings.force)


def run_scoring(scoring: Scoring, stdin: Iterable[str], stdout: Any, on_rows: OnRows | None = None) -> dict[str, int]:
    """Score everything; returns the counts. Each line goes out as it is made.

    Raises:
        UsageError: no such input or column, or prompts longer than the model reads.
        StoreError: the output cannot be written.
    """
    from probeshift.scoring.writing import Output

    if scoring.settings.output is None:
        return _run(scoring, _rows(scoring, stdin), stdout, 0, on_rows)
    output = Output(scoring.settings.output, _job(scoring))
    done = output.done()
    with output.lines() as file:
        counts = _run(scoring, islice(_rows(scoring, stdin), done, None), file, done, on_rows)
    output.finish({**scoring.about(), "counts": counts})
    return counts


def _rows(scoring: Scoring, stdin: Iterable[str]) -> Iterator[TextRow]:
    from probeshift.scoring.texts import read_lines, read_texts

    s = scoring.settings
    if s.input is None or str(s.input) == "-":
        return read_lines(stdin, as_json=s.format == "jsonl", column=s.text_column, keep=s.keep)
    return read_texts(s.input, column=s.text_column, keep=s.keep)


def _job(scoring: Scoring) -> dict[str, Any] | None:
    """What a line depends on; None for a stream, which cannot be read again."""
    s = scoring.settings
    if s.input is None or str(s.input) == "-":
        return None
    about = s.input.stat() if s.input.is_file() else None
    direction = sha256_json([scoring.saved.probe.direction.tolist(), scoring.saved.probe.bias])
    state = [about.st_size, about.st_mtime_ns] if about else None
    given = s.model_dump(mode="json", exclude={"probe", "output", "rows_at_once"})
    return {"settings": given, "input": state, "direction": direction, "read": scoring.about()["read"]}


def _run(scoring: Scoring, rows: Iterator[TextRow], out: Any, done: int, on_rows: OnRows | None) -> dict[str, int]:
    from probeshift.scoring import score_texts

    s, counts = scoring.settings, {"rows": done, "scored": 0, "undefined": 0, "positive": 0, "cut": 0}
    read, written = tee(rows)  # one chunk apart
    how = {"tokens": s.tokens, "options": scoring.options, "ignored": s.force, "rows_at_once": s.rows_at_once}
    with scoring.workspace.loader() as load:
        scores = score_texts(scoring.saved, load(), (row.text for row in read), **how)  # type: ignore[arg-type]
        for row, score in zip(written, scores, strict=True):
            counts["rows"] += 1
            out.write(json.dumps(_line(s, counts["rows"], row, score), ensure_ascii=False) + "\n")
            out.flush()
            _count(counts, score)
            if on_rows:
                on_rows(counts["rows"])
    return counts


def _count(counts: dict[str, int], score: Score) -> None:
    counts["undefined" if score.score is None else "scored"] += 1
    counts["positive"] += bool(score.decision)
    counts["cut"] += score.truncated


def _line(settings: ScoreSettings, number: int, row: TextRow, score: Score) -> dict[str, Any]:
    line: dict[str, Any] = {"row": number, **row.kept}
    if settings.with_text:
        line["text"] = row.text
    line |= {
        "score": score.score, "probability": score.probability, "squashed": score.squashed, "decision": score.decision,
        "reason": score.reason, "truncated": score.truncated,
    }  # fmt: skip
    if settings.tokens:
        line["tokens"] = None if score.tokens is None else [{"token": t.token, "score": t.score} for t in score.tokens]
    return line
