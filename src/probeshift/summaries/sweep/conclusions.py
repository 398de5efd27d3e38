"""What may and what may not be concluded, in plain sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from probeshift.summaries.sweep.comparing import LEVEL
from probeshift.summaries.sweep.sources import REFERENCE_OFF

TELLING_LENGTH = 0.15  # distance from 0.5 from which the AUROC of length alone is reported
STRONG_ASSOCIATION = 0.3  # Cramér's V from which a source is said to give its label away


def conclude(found: Mapping[str, Any]) -> dict[str, list[str]]:
    """Sentences under `first` (what stands before any claim), `may` and `may_not`; `found` is the whole comparison."""
    may_not = [
        *_not_on_record(found),
        *_leaks(found),
        *_association(found),
        *_one_class(found),
        *_length(found),
        *_thresholds(found),
        *_resolution(found),
        *_sizes(found),
        *_means(found),
    ]
    return {
        "first": [*_parity(found)],
        "may": [*_left_out_copies(found), *_gains(found), *_more_sources(found), *_left_out(found), *_sources(found)],
        "may_not": [*may_not, *_always(found)],
    }


def _gains(found: Mapping[str, Any]) -> Iterator[str]:
    names = {s["step"]: s["name"] for s in found["step_values"]}
    for name, first in found["first_gain"].items():
        gains = [g for g in found["gains"] if g["set"] == name]
        if first["step"] is not None:
            gain = next(g for g in gains if g["to"] == first["step"])
            trained = _trained_on(found, first["step"], name)
            after = (
                ", and rows of the same source are in training there: it is no longer an unseen distribution"
                if trained
                else ""
            )
            yield (
                f"On {name}, step {first['step']} ({names[first['step']]}) is the first with a gain told from 0: {_what(gain)} "
                f"{_signed(gain['difference'])} {_interval(gain.get('ci'))}, Holm p = {gain['p_holm']:.3g}{after}."
            )
        elif first["n_tested"]:
            yield f"On {name}, no step has a gain that can be told from 0 ({first['n_tested']} tested)."
        for step in first["losses"]:
            loss = next(g for g in gains if g["to"] == step)
            yield f"On {name}, step {step} ({names[step]}) loses: {_what(loss)} {_signed(loss['difference'])} {_interval(loss.get('ci'))}."


def _more_sources(found: Mapping[str, Any]) -> Iterator[str]:
    """Per set, the steps at which as many rows of more sources do better or worse than the first step's."""
    clear = [r for r in found["size_matched"] if r["more_sources"] is not None and _excludes_0(r["more_sources_ci"])]
    for name in dict.fromkeys(r["set"] for r in clear):
        steps = ", ".join(_at_equal_size(r) for r in clear if r["set"] == name)
        yield f"On {name}, as many rows as the first step has, of more sources, change the AUROC by {steps}; intervals one by one."


def _at_equal_size(row: Mapping[str, Any]) -> str:
    own = " (its own source is among them)" if row["own_source"] else ""
    return f"{_signed(row['more_sources'])} {_interval(row['more_sources_ci'])} at step {row['step']}{own}"


def _left_out(found: Mapping[str, Any]) -> Iterator[str]:
    defined = [row for row in found["leave_one_out"] if row.get("auroc") is not None]
    if defined:
        parts = ", ".join(
            f"{r['left_out']} {r['auroc']:.3f} {_interval(r['auroc_ci'])} (n = {r['n']})" for r in defined
        )
        shared = any(r["n_shared"] for r in defined)
        without = " (on its rows about what no training row is about)" if shared else ""
        yield f"On a source that no training row came from{without}, a probe trained on all others has AUROC: {parts}."


def _sources(found: Mapping[str, Any]) -> Iterator[str]:
    gains = [g for g in found["marginal"]["gains"] if g["shapley"] is not None]
    if gains:
        parts = ", ".join(
            f"{g['source']} {_signed(g['shapley'])} ({g['n_pairs']} of {g['n_pairs_in_all']} pairs)" for g in gains
        )
        yield f"Averaged over all orders, sources add to the mean AUROC over {', '.join(found['marginal']['over'])}: {parts}."


def _parity(found: Mapping[str, Any]) -> Iterator[str]:
    first = found["activity"][0]["set"]
    recorded_alike = {row["set"] for row in found["extraction"] if row["same"]}
    for row in found["extraction"]:
        if row["same"] is False:
            differs = [f"{key} ({one} and {other})" for key, (one, other) in row["differs"].items()]
            differs += ["the features of the reference prompts"] if (row["reference_off"] or 0) > REFERENCE_OFF else []
            yield (
                f"{row['set']} was not extracted as {first} was: they differ in {', '.join(differs)}. Nothing about it can be told "
                "from that; extract both alike first."
            )
    for row in found["activity"]:
        if row["mismatch"]:
            ratios = ", ".join(
                f"{what.replace('_', ' ')} {row['ratio_to_first'][what]:.2g} x" for what in row["mismatch"]
            )
            alike = (
                "Both are on record as extracted alike: then their texts differ in more than the behaviour."
                if row["set"] in recorded_alike
                else "Until it is known that both were extracted alike, no result on it shows a distribution shift."
            )
            yield f"The features of {row['set']} are not at the level of {first} ({ratios}). {alike}"


def _not_on_record(found: Mapping[str, Any]) -> Iterator[str]:
    first = found["activity"][0]["set"]
    unknown = [row["set"] for row in found["extraction"] if row["same"] is None and row["set"] != first]
    if unknown:
        yield (
            f"That {', '.join(unknown)} went through the same model and code as {first}: nothing is on record. Write extraction_config "
            "into the labels files, or the features of the same few prompts as {name}_reference.npy."
        )


def _leaks(found: Mapping[str, Any]) -> Iterator[str]:
    unknown = sorted({row["test"] for row in found["duplicates"] if row["n_train_rows"] is None})
    if unknown:
        yield f"That {', '.join(unknown)} is free of copies of training rows: texts are not known. Give `texts:` in the config."
    for row in found["duplicates"] if not found["duplicates_removed"] else ():
        if row["n_train_rows"]:
            yield (
                f"That {row['test']} was never seen: {row['n_train_rows']} training rows of {row['source']} nearly repeat "
                f"{row['n_test_rows']} of its texts (up to {row['most_similar']:.0%} of word trigrams). "
                "remove_near_duplicates: true leaves them out."
            )


def _left_out_copies(found: Mapping[str, Any]) -> Iterator[str]:
    for row in found["duplicates"] if found["duplicates_removed"] else ():
        if row["n_train_rows"]:
            yield (
                f"{row['n_train_rows']} rows of {row['source']} that nearly repeat {row['n_test_rows']} texts of {row['test']} (up to "
                f"{row['most_similar']:.0%} of word trigrams) are left out of training; paraphrases are not found this way."
            )


def _association(found: Mapping[str, Any]) -> Iterator[str]:
    for step in found["step_values"]:
        association = step["source_predicts_label"]
        if association["cramers_v"] is not None and association["cramers_v"] >= STRONG_ASSOCIATION:
            yield (
                f"That the probe of step {step['step']} tells the behaviour and not the source: in its training rows the source alone "
                f"ranks labels with AUROC {association['source_only_auroc']:.2f} (Cramér's V {association['cramers_v']:.2f})."
            )


def _one_class(found: Mapping[str, Any]) -> Iterator[str]:
    last = found["step_values"][-1]["evaluation"]
    for name, values in last.items():
        if (values.get("auroc_reason") or "").startswith("single_class"):
            yield (
                f"Anything about ranking on {name}: all its {values['n_samples']} rows are of one class, so it has no AUROC and its "
                "accuracy would be a detection rate. Read its detections, together with the false positive rate they cost."
            )


def _length(found: Mapping[str, Any]) -> Iterator[str]:
    for name, values in found["step_values"][-1]["evaluation"].items():
        alone = values.get("length_only_auroc")
        if alone is not None and abs(alone - 0.5) >= TELLING_LENGTH:
            yield f"That ranking on {name} is about more than length: the number of tokens alone has AUROC {alone:.2f} there."


def _thresholds(found: Mapping[str, Any]) -> Iterator[str]:
    last = found["step_values"][-1]
    for at in last["thresholds"]:
        if at["reason"]:
            yield f"Detections at {at['target_fpr']:.0%} false positives: the negatives ({last['control']}) are too few, {at['fpr']['n']}."


def _resolution(found: Mapping[str, Any]) -> Iterator[str]:
    """Where no gain of AUROC, however large, could be told from 0 after Holm: its p is at least 1 / (1 + resamples)."""
    tested = [gain["measure"] for gain in found["gains"] if gain.get("p") is not None]
    n_tests = len(tested)
    if "auroc" in tested and n_tests >= LEVEL * (found["n_resamples"] + 1):
        needed = int(n_tests / LEVEL) + 1
        yield (
            f"That a step gains nothing: {n_tests} differences are tested together, and with {found['n_resamples']:,} resamples "
            f"none {'of them' if set(tested) == {'auroc'} else 'of AUROC'} can be told from 0. Set n_resamples: {needed:,} or more."
        )


def _sizes(found: Mapping[str, Any]) -> Iterator[str]:
    unclear = [
        r for r in found["size_matched"]
        if r["more_sources"] is not None and not _excludes_0(r["more_sources_ci"])
    ]  # fmt: skip
    for name in dict.fromkeys(r["set"] for r in unclear):
        steps = ", ".join(str(r["step"]) for r in unclear if r["set"] == name)
        yield (
            f"That more sources, rather than more rows, make a difference on {name} at step {steps}: "
            "at equal size the interval includes 0."
        )


def _means(found: Mapping[str, Any]) -> Iterator[str]:
    gap = found["gaps"][-1] if found["gaps"] else None
    if gap and gap["n_defined"] < gap["n_sets"]:
        yield f"A generalisation gap over all shifted sets: {gap['n_defined']} of {gap['n_sets']} have an AUROC to average."


def _always(found: Mapping[str, Any]) -> Iterator[str]:
    yield "Which order of adding is best, from one order: see what each source adds first, last and on average."
    yield "That a detector is ready for use: what it does on a source nobody tested is not known, and no step here measures it."


def _trained_on(found: Mapping[str, Any], step: int, name: str) -> bool:
    return any(s["step"] == step and s["evaluation"][name]["source_trained_on"] for s in found["step_values"])


def _what(gain: Mapping[str, Any]) -> str:
    return "AUROC" if gain["measure"] == "auroc" else gain["measure"]


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _excludes_0(ci: Any) -> bool:
    return bool(ci) and (ci[0] > 0 or ci[1] < 0)


def _interval(ci: Any) -> str:
    return f"[{ci[0]:.3f}, {ci[1]:.3f}]" if ci else "(no interval)"
