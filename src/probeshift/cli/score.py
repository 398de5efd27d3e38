"""`probeshift score`: what a saved probe says of texts."""

from __future__ import annotations

import sys
import time
from typing import Any

from probeshift.cli.console import print_json, say
from probeshift.cli.crossdata import AsJson
from probeshift.cli.options import checked, options_from, pick
from probeshift.errors import UsageError
from probeshift.experiments.score import ProbeModelSettings, ScoreSettings, open_scoring, run_scoring


@options_from(ScoreSettings, ProbeModelSettings)
def score(given: dict[str, Any], as_json: AsJson = False) -> None:
    """Score texts with a saved probe: raw score, probability where it was fitted as one, decision; token by token with --tokens.

    The probe's own model, layer, position, prompts and number format are used; anything else is refused unless --force names it.

    Example: probeshift score --probe output/comparison/smollm2-135m/probes/lr/got_cities.safetensors --layer 14 --input texts.txt
    """
    settings = checked(ScoreSettings, pick(given, ScoreSettings))
    if settings.input is None and sys.stdin.isatty():
        raise UsageError(
            "--input is missing, and nothing is piped in. Name a file of texts, or pipe texts in, one a line."
        )
    if as_json and settings.output is None:
        raise UsageError("--json prints a summary, so the scores need a file of their own. Add --output scores.jsonl.")
    scoring = open_scoring(settings, pick(given, ProbeModelSettings))
    about = scoring.about()
    for key in ("score", "threshold"):
        say(f"{key:<10} {about['fitted'][key] or 'none'}")
    if settings.force:
        say(f"warning: differences in {', '.join(settings.force)} are ignored, as told")
    counts = run_scoring(scoring, sys.stdin, sys.stdout, _Told())
    if as_json:
        return print_json({"output": str(settings.output), "counts": counts, **about})
    _say_counts(counts, about)
    if settings.output is not None:
        print(settings.output)


class _Told:
    """How many texts are done, every ten seconds: a stream has no known end."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, rows: int) -> None:
        if time.monotonic() - self.last > 10:
            say(f"{rows:,} texts")
            self.last = time.monotonic()


def _say_counts(counts: dict[str, int], about: dict[str, Any]) -> None:
    decided = f", {counts['positive']:,} above the threshold" if about["fitted"]["threshold"] else ""
    undefined = f", {counts['undefined']:,} undefined (the reason is in each row)" if counts["undefined"] else ""
    cut = f", {counts['cut']:,} prompts cut" if counts["cut"] else ""
    say(f"{counts['rows']:,} texts{decided}{undefined}{cut}")
