"""Sentences on what a study does not show: inverted directions, limits of its tests, what the published procedure adds."""

from __future__ import annotations

import pandas as pd

from probeshift.report.comparison.wording import LEVEL, bounded, percent, points
from probeshift.summaries.headline import Headline
from probeshift.summaries.inverted import anti_generalising_counts
from probeshift.summaries.paired import TOO_FEW_SETS
from probeshift.summaries.protocols import AWAY_DEEP, CONTROL, NUMBER_TURNED
from probeshift.summaries.rows import CONTROLS, listed
from probeshift.summaries.study import Study


def inverted(study: Study) -> list[str]:
    if study.published:
        return ["Inverted directions cannot be seen: the published procedure turns them on the evaluation labels."]
    counts = anti_generalising_counts(study)
    learned = counts[~counts["method"].isin(CONTROLS)]
    turned, total = int(learned["n_inverted"].sum()), int(learned["n_cells"].sum())
    if not total:
        return []
    controls = [
        f"; of `{row.method}`: {row.n_inverted} of {row.n_cells} ({percent(row.share)})"
        for row in counts[counts["method"].isin(CONTROLS)].itertuples()
    ]
    return [
        f"Inverted directions (whole 95 % interval of AUROC or accuracy by question below chance): {turned} of {total} cells "
        f"of learned probes on other sets from layer {study.cut_layer} on ({percent(turned / total)}){''.join(controls)}."
    ]


def limits(study: Study, pairs: pd.DataFrame) -> list[str]:
    """What the numbers do not allow to conclude; `pairs` are the leading method's of `compare_methods`, by the other's name."""
    n_sets = study.counted["test"].nunique()
    sentences = [
        f"Intervals and q resample the questions of these {n_sets} test sets: they hold for other questions of the same sets, and "
        "say nothing on other sets, training seeds or models."
    ]
    if len(pairs):
        sentences += _leads_over_sets(pairs[(pairs["q"] < LEVEL) & (pairs["difference"] > 0)])
    return [*sentences, *_widest_cell(study), *_loosest_ceiling(study)]


def _leads_over_sets(ahead: pd.DataFrame) -> list[str]:
    """Which of the leads over other questions are none, or untested, over other sets."""
    unshown, untested = ahead[ahead["q_sets"] >= LEVEL], ahead[ahead["q_sets"].isna()]
    sentences = []
    if len(unshown):
        sentences.append(
            f"With test sets as units the lead of `{unshown['method_a'].iloc[0]}` over {listed(unshown.index)} is not shown "
            f"(Wilcoxon, q >= {LEVEL:g}): other sets may turn it."
        )
    if len(untested):
        sentences.append(
            f"The lead of `{untested['method_a'].iloc[0]}` over {listed(untested.index)} is not tested over sets: {TOO_FEW_SETS}."
        )
    return sentences


def _widest_cell(study: Study) -> list[str]:
    """How well the least known single cell is known."""
    cells = study.rows[
        study.rows["metric"].eq("accuracy") & study.rows["split"].eq("test") & study.rows["ci_high"].notna()
    ]
    if not len(cells):
        return []
    half = (cells["ci_high"] - cells["ci_low"]) / 2
    row = cells.loc[half.idxmax()]
    return [
        f"A single cell is known least on `{row['test']}`: {int(row['n'])} {row['n_kind']}, accuracy within ± "
        f"{points(float(half.max()))}."
    ]


def _loosest_ceiling(study: Study) -> list[str]:
    """How narrowly the ceilings were chosen."""
    known = study.ceiling_choices.dropna(subset=["n_chosen"])
    if not (known["n_chosen"] > 1).any():
        return []
    row = known.loc[(known["choice_high"] - known["choice_low"]).idxmax()]
    return [
        f"A ceiling is a choice among near ties: resampled questions choose up to {known['n_chosen'].max()} different probes of a set "
        f"({known['n_chosen'].median():g} in the median), and intervals carry that. The loosest is `{row['test']}`'s, "
        f"{percent(row['value'])} [{100 * row['choice_low']:.1f}, {100 * row['choice_high']:.1f}]."
    ]


def published_adds(protocols: pd.DataFrame) -> list[str]:
    """What the published procedure adds; `protocols` is the table of `protocol_table`."""
    rows = protocols.set_index("key")
    mean, control, turned = (rows.loc[key] for key in (AWAY_DEEP, CONTROL, NUMBER_TURNED))

    def both(row: pd.Series) -> str:
        sides = (
            Headline(row[s], row[f"{s}_low"], row[f"{s}_high"], reason=row["reason"]) for s in ("published", "strict")
        )
        return "{} where strict reads {}".format(*map(bounded, sides))

    sentences = [f"On the same cells the published procedure reads a mean of {both(mean)}."]
    if pd.notna(control["published"]) and pd.notna(control["strict"]):
        sentences.append(
            f"For the control it reads {both(control)}: directions that learned nothing, signs chosen on the answers."
        )
    if turned["n_cells"]:
        sentences.append(
            f"It turned {int(turned['published'])} of {turned['n_cells']} cells ({percent(turned['published'] / turned['n_cells'])}) "
            "from below chance."
        )
    return sentences
