"""How good the probes of each layer are: the mean of every probe, and the share of probes above 80 % recovered.

Source: figure r0 of "How well do truth probes generalise?" (2024), which prints the share from its first useful layer on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from probeshift.metrics.intervals import percentile
from probeshift.summaries.counted import beside
from probeshift.summaries.generalisation import CONTROL, LEARNED, counted
from probeshift.summaries.resampling import Replicates, replicated_means
from probeshift.summaries.study import RECOVERED_WELL, Study

PROBE, LAYER_SHARE, OVERALL_SHARE = "probe", "share of a layer", "share from the cut layer on"


def probes_by_layer(study: Study) -> pd.DataFrame:
    """r0: rows of `kind` "probe" hold the mean recovered accuracy of one probe over test sets; the others hold shares.

    A share row is the share of `n_probes` probes whose mean is above 80 %: of one layer, or of all at the cut layer and
    deeper. `series` tells learned probes from the control. `own_set` says whether means hold the probe's own set, which they
    do where the protocol counts it.

    Raises:
        UsageError: no cell counts.
    """
    own = counted(study)["in_distribution"].astype(bool).any()
    cells = study.learned if own else study.learned[~study.learned["in_distribution"].astype(bool)]
    parts = [_series(study, cells).assign(series=LEARNED)]
    controls = beside(study, cells)
    if len(controls):
        parts.append(_series(study, controls).assign(series=CONTROL))
    chance = cells["chance"].clip(upper=1.0) if study.published else cells["chance"]
    table = pd.concat(parts, ignore_index=True)
    whole = ["layer", "n_cells", "n_undefined", "n_probes"]  # null in some rows, and whole numbers in the others
    return table.astype(dict.fromkeys(whole, "Int64")).assign(
        line=RECOVERED_WELL,
        chance=chance.mean(),
        own_set="own set included" if own else "own set excluded",
        cut_layer=study.cut_layer,
        n_sets=cells["test"].nunique(),
        n_questions=int(cells.drop_duplicates("test")["n"].sum()),
        model=study.model,
        protocol=study.protocol,
        measure=study.measure,
    )


def share_above(means: Replicates, chosen: np.ndarray, line: float = RECOVERED_WELL) -> dict[str, Any]:
    """Share of the chosen means that are above the line, with 95 % bounds over questions; undefined means do not count.

    Resampling adds noise to each mean, which can carry the shares of all resamples to one side of the share itself; bounds
    are widened to hold it.
    """
    chosen = chosen & np.isfinite(means.value)
    n_probes = int(chosen.sum())
    found = {
        "value": np.nan,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "n_probes": n_probes,
        "reason": None,
        "ci_reason": None,
    }
    if not n_probes:
        return {**found, "reason": "no probe has a mean", "ci_reason": "no probe has a mean"}
    share = float((means.value[chosen] > line).mean())
    why = next((reason for reason, here in zip(means.ci_reason, chosen, strict=True) if here and reason), None)
    if why:
        return {**found, "value": share, "ci_reason": why}
    drawn = percentile((means.replicates[chosen] > line).mean(axis=0)[None])
    low, high = min(share, float(drawn.low[0])), max(share, float(drawn.high[0]))
    return {**found, "value": share, "ci_low": low, "ci_high": high}


def _series(study, cells) -> pd.DataFrame:
    means = replicated_means(study, cells, ["method", "train", "layer"])
    layer = means.groups["layer"].to_numpy()
    probes = means.groups.assign(
        kind=PROBE,
        value=means.value,
        ci_low=means.low,
        ci_high=means.high,
        n_cells=means.n_cells,
        n_undefined=means.n_undefined,
        reason=pd.Series(means.reason, dtype=object),
        ci_reason=pd.Series(means.ci_reason, dtype=object),
    )
    shares = [
        {"kind": LAYER_SHARE, "layer": at, **share_above(means, layer == at)} for at in sorted(set(layer.tolist()))
    ]
    shares.append({"kind": OVERALL_SHARE, **share_above(means, layer >= study.cut_layer)})
    return pd.concat([probes, pd.DataFrame(shares)], ignore_index=True)
