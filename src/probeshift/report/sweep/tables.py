"""The tables of a sweep as text, in the order of its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from probeshift.report.tables import Table

_NONE = "–"
EXACT = "†"


def sweep_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Tables of text, in the order of the report."""
    yield _sources_table(found)
    yield _training_table(found)
    yield _auroc_table(found)
    yield _accuracy_table(found)
    if _of_one_class(found):
        yield _one_class_table(found)
    for number in range(len(found["fpr"])):
        yield _detection_table(found, number)
    for number in range(len(found["fpr"])):
        yield _recall_table(found, number)
    yield _calibration_table(found)
    yield _gains_table(found)
    yield _gap_table(found)
    if found["size_matched"]:
        yield _size_table(found)
    if found["leave_one_out"]:
        yield _left_out_table(found)
    if found["marginal"]["gains"]:
        yield _marginal_table(found)


def brief_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """AUROC by step, and on sources nobody trained on."""
    yield _auroc_table(found)
    if found["leave_one_out"]:
        yield _left_out_table(found)


def _sources_table(found: Mapping[str, Any]) -> Table:
    copies: dict[str, list[str]] = {}
    for row in found["duplicates"]:
        n, of_source = row["n_train_rows"], copies.setdefault(row["source"], [])
        of_source += [] if n == 0 else ["not known" if n is None else f"{n} with {row['test']}"]
    extracted = {row["set"]: row for row in found["extraction"]}
    rows = [
        (a["set"], _cut(found["parts"][a["set"]]), f"{a['active_per_row']:,.0f}", f"{a['share_active']:.1%}",
         f"{a['mean_size']:.3g}", f"{a['largest']:.3g}", ", ".join(a["mismatch"]).replace("_", " ") or "no",
         _extracted(extracted[a["set"]], number == 0), "; ".join(dict.fromkeys(copies.get(a["set"], [_NONE]))) or "none")
        for number, a in enumerate(found["activity"])
    ]  # fmt: skip
    columns = (
        "set", "rows: train + held out", "active features", "share", "mean size", "largest", "over 3x from first",
        "extraction on record", f"near-copies {'left out of' if found['duplicates_removed'] else 'in'} training",
    )  # fmt: skip
    return "Before any probe: are the sets extracted alike, and apart?", columns, rows


def _cut(parts: Mapping[str, int]) -> str:
    """Rows of a set by what they are for: 80 + 20 (3 unused), or a plain number for a set that is tested only."""
    if "test" in parts:
        return f"{parts['test']:,}"
    unused = f" ({parts['neither']:,} unused)" if parts.get("neither") else ""
    return f"{parts.get('train', 0):,} + {parts.get('held_out', 0):,}{unused}"


def _extracted(row: Mapping[str, Any], is_first: bool) -> str:
    if row["same"] is None:
        return "nothing"
    if row["same"]:
        return "yes" if is_first else "as the first"
    return "differs: " + ", ".join([*row["differs"]] or ["reference prompts"])


def _training_table(found: Mapping[str, Any]) -> Table:
    rows = []
    for s in found["step_values"]:
        cv = _NONE if s["cv_auroc_mean"] is None else f"{s['cv_auroc_mean']:.3f} ± {s['cv_auroc_std']:.3f}"
        association = s["source_predicts_label"]
        rows.append((f"{s['step']} {s['name']}", f"{s['n_training_samples']:,}", f"{sum(s['training_positives'].values()):,}", cv,
                     f"{s['train_accuracy']:.3f}", _shown(association["cramers_v"]), _shown(association["source_only_auroc"])))  # fmt: skip
    columns = (
        "step",
        "training rows",
        "positive",
        "CV AUROC, mean ± sd of folds",
        "train accuracy",
        "Cramér's V",
        "source-only AUROC",
    )
    return "Training", columns, rows


def _by_set(found: Mapping[str, Any], cell: Any) -> Table:
    """Sets down, steps across."""
    steps = found["step_values"]
    names = list(steps[0]["evaluation"])
    first = [steps[-1]["evaluation"][name] for name in names]
    rows = [
        (name, f"{v['af_samples']:,} / {v['n_samples']:,}", *(cell(s["evaluation"][name]) for s in steps))
        for name, v in zip(names, first, strict=True)
    ]
    return "", ("set", "positive / n", *(f"{s['step']} {s['name']}" for s in steps)), rows


def _auroc_table(found: Mapping[str, Any]) -> Table:
    def cell(v: Mapping[str, Any]) -> str:
        mark = " *" if v["source_trained_on"] else ""
        return _estimate(v, "auroc") + mark

    title, (_, columns, rows) = (
        "AUROC with 95 % intervals (* rows of the same source are in training)",
        _by_set(found, cell),
    )
    return title + exact_note(rows), columns, rows


def _accuracy_table(found: Mapping[str, Any]) -> Table:
    def cell(v: Mapping[str, Any]) -> str:
        return (
            _why(v["accuracy_reason"])
            if v["accuracy"] is None
            else f"{v['accuracy']:.3f} {_interval(v['accuracy_ci'])}"
        )

    return ("Accuracy at a probability of a half, with 95 % intervals", *_by_set(found, cell)[1:])


def _of_one_class(found: Mapping[str, Any]) -> list[str]:
    last = found["step_values"][-1]["evaluation"]
    return [name for name, v in last.items() if str(v.get("auroc_reason") or "").startswith("single_class")]


def _one_class_table(found: Mapping[str, Any]) -> Table:
    """What stands for the AUROC that sets of one class do not have."""
    rows = [
        (name, f"{step['step']} {step['name']}", *_one_class(step["evaluation"][name]))
        for name in _of_one_class(found)
        for step in found["step_values"]
    ]
    columns = ("set", "step", "probabilities: 5 %, median, 95 %", "cross-set AUROC", "of")
    title = "Sets of one class: their scores, and a comparison across sets that measures style too"
    return title + exact_note(rows), columns, rows


def _one_class(values: Mapping[str, Any]) -> tuple[str, str, str]:
    quantiles, crossed = values.get("score_quantiles"), values.get("cross_set_auroc")
    shown = " / ".join(f"{quantiles[q]:.3f}" for q in ("0.05", "0.5", "0.95")) if quantiles else _NONE
    if not crossed:
        return shown, _NONE, _NONE
    of = f"{crossed['of']} (n = {crossed['n']:,}) against {crossed['against']} ({crossed['n_against']:,})"
    return shown, _estimate(crossed, "value"), of


def _detection_table(found: Mapping[str, Any], number: int) -> Table:
    """Detections at one target rate, and what they cost in false positives."""
    last = found["step_values"][-1]

    def cell(v: Mapping[str, Any]) -> str:
        if not v.get("detection"):
            return _NONE
        at = v["detection"][number]
        return _with_cost(at)

    title = f"Detected at a threshold with {last['thresholds'][number]['target_fpr']:.0%} false positives on {last['control']}"
    return (title, *_by_set(found, cell)[1:])


def _recall_table(found: Mapping[str, Any], number: int) -> Table:
    def cell(v: Mapping[str, Any]) -> str:
        return _percent(v["recall_at_fpr"][number]) if v.get("recall_at_fpr") else _NONE

    title = f"Recall at {found['step_values'][-1]['thresholds'][number]['target_fpr']:.0%} false positives on the set's own negatives"
    return (title, *_by_set(found, cell)[1:])


def _calibration_table(found: Mapping[str, Any]) -> Table:
    def cell(v: Mapping[str, Any]) -> str:
        return f"{v['brier']:.3f} / {v['calibration_error']:.3f}" if "brier" in v else _NONE

    return ("Calibration of the probabilities: Brier score / expected calibration error", *_by_set(found, cell)[1:])


def _gains_table(found: Mapping[str, Any]) -> Table:
    rows = [
        (f"{g['from']} -> {g['to']}", g["set"], g["measure"], _change(g["difference"], g.get("ci")),
         _shown(g.get("p")), _shown(g.get("p_holm")), _change(g.get("per_1000"), g.get("per_1000_ci")),
         _why(g["reason"]) if g.get("reason") else "")
        for g in found["gains"]
    ]  # fmt: skip
    return (
        "Gain of each step, paired on the same rows",
        ("step", "set", "of", "gain", "p", "p (Holm)", "per 1,000 rows", ""),
        rows,
    )


def _gap_table(found: Mapping[str, Any]) -> Table:
    names = [
        n for n in found["gaps"][-1]["sets"] if any(g["sets"].get(n, {}).get("gap") is not None for g in found["gaps"])
    ]
    rows = [
        (str(g["step"]), g["in_distribution"] or _NONE, _change(g["mean"], g.get("ci")),
         f"{g['n_defined']} of {g['n_sets']}", g.get("worst") or _NONE, *(_gap(g["sets"].get(name)) for name in names))
        for g in found["gaps"]
    ]  # fmt: skip
    return (
        "Gap: AUROC in distribution less AUROC on shifted sets (* rows of the same source are in training: no longer unseen)",
        ("step", "in distribution", "mean gap", "sets defined", "worst", *names),
        rows,
    )


def _gap(of_set: Mapping[str, Any] | None) -> str:
    if of_set is None or of_set["gap"] is None:
        return _NONE
    return _change(of_set["gap"], of_set["ci"]) + " *" * of_set["source_trained_on"]


def _size_table(found: Mapping[str, Any]) -> Table:
    rows = [
        (str(r["step"]), r["set"] + " *" * r["own_source"], f"{r['n_rows']:,} x {r['n_draws']}",
         _shown(r["first_step"]), _shown(r["size_matched"]), _shown(r["full"]),
         _change(r["more_sources"], r["more_sources_ci"]),
         _signed(r["more_rows"]))
        for r in found["size_matched"]
    ]  # fmt: skip
    columns = ("step", "set", "rows x draws", "first step", "same size", "all rows", "more sources", "more rows")
    return (
        "More sources or more rows? AUROC of mixtures as large as the first step (* its own source is among them)",
        columns,
        rows,
    )


def _left_out_table(found: Mapping[str, Any]) -> Table:
    rows = [
        (r["left_out"], f"{r.get('n_positive', 0):,} / {r.get('n', 0):,}", f"{r.get('n_shared', 0):,}",
         _estimate(r, "auroc"),
         "; ".join(f"{d['target_fpr']:.0%}: {_with_cost(d)}" for d in r.get("detection", ())))
        for r in found["leave_one_out"]
    ]  # fmt: skip
    title = "Trained on all sources but one, tested on that one (not on rows about what training rows are about)"
    return (
        title + exact_note(rows),
        ("left out", "positive / n", "shared, not tested", "AUROC", "detected"),
        rows,
    )


def _marginal_table(found: Mapping[str, Any]) -> Table:
    places = found["marginal"]["by_place"]
    n = len(places)
    rows = [
        (g["source"], _signed(g["shapley"]), _signed(g["add_last"]), f"{_signed(g['lowest'])} to {_signed(g['highest'])}",
         f"{g['n_pairs']} of {g['n_pairs_in_all']}", *(_signed(x) for x in places[g["source"]]))
        for g in found["marginal"]["gains"]
    ]  # fmt: skip
    columns = (
        "source",
        "on average",
        "added last",
        "lowest to highest",
        "pairs",
        *(f"added {i + 1}." for i in range(n)),
    )
    return f"What each source adds to the mean AUROC over {', '.join(found['marginal']['over'])}", columns, rows


def _change(value: float | None, ci: Any) -> str:
    """A signed value with its interval."""
    return _NONE if value is None else f"{value:+.3f} {_interval(ci)}"


def _shown(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return _NONE if value is None else f"{value:+.3f}"


def _estimate(found: Mapping[str, Any], name: str) -> str:
    """A value with its interval, marked where that is an exact bound; the reason where it is undefined."""
    if found[name] is None:
        return _why(found[f"{name}_reason"])
    exact = str(found[f"{name}_ci_kind"]).startswith("degenerate")
    return f"{found[name]:.3f} {_interval(found[f'{name}_ci'])}{EXACT * exact}"


def exact_note(cells: Any) -> str:
    """What the mark of exact bounds means, where a table has one."""
    note = f"; {EXACT} all resamples are equal: an exact bound, wider than resampled ones of nearly the same value"
    return note if EXACT in str(cells) else ""


def _interval(ci: Any) -> str:
    return _NONE if not ci else f"[{ci[0]:.3f}, {ci[1]:.3f}]"


def _with_cost(at: Mapping[str, Any]) -> str:
    """A detection rate, and the false positives it costs on the same set where it has negatives."""
    hit, false = at["detected"] or {"reason": at.get("reason")}, at["false_positives"] or {}
    return f"{_percent(hit)}; false {_percent(false)}" if false.get("value") is not None else _percent(hit)


def _percent(rate: Mapping[str, Any]) -> str:
    if rate.get("value") is None:
        return _why(rate.get("reason"))
    bounds = f" [{rate['low']:.1%}, {rate['high']:.1%}]" if rate.get("low") is not None else ""
    return f"{rate['value']:.1%}{bounds}"


def _why(reason: Any) -> str:
    """A reason in few words: `not_resolvable:90_of_300_negatives` is "too few negatives (90 of 300)"."""
    words = str(reason or _NONE).replace("_", " ")
    if words.startswith("not resolvable:"):
        return f"too few negatives ({words.split(':')[1].removesuffix(' negatives')})"
    return words.replace("single class:", "all ")
