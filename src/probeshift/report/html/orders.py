"""Orders in which the sets of a matrix can stand: as the run has them, by family, by name, by the run's clustering."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from probeshift.report.html.plain_text import shown_name
from probeshift.report.html.run_folder import RunFolder

_CLUSTERING = {"node", "dataset", "left", "right"}


def orders(run: RunFolder) -> dict[str, list[str]]:
    """Lists of set names by the name of the order; every order holds every train and test set of the run."""
    family = families(run.results)
    names = list(family)
    found = {
        "family": sorted(names, key=lambda n: (family[n] == "", family[n], n)),
        "name": sorted(names),
        "run": _as_listed(run, names),
    }
    if run.kind == "mixture":  # steps come one after the other
        found = {"run": found.pop("run"), **found}
    leaves = _leaves(run)
    if leaves:
        known = [name for name in leaves if name in family]
        found = {"clustering": [*known, *(n for n in found["family"] if n not in known)], **found}
    return {order: [shown_name(name) for name in listed] for order, listed in found.items()}


def families(rows: pd.DataFrame) -> dict[str, str]:
    """The family of each train and test set, "" where a run names none."""
    found: dict[str, str] = {}
    for side in ("train", "test"):
        if side in rows:
            names = rows[[side, f"{side}_family"]] if f"{side}_family" in rows else rows[[side]].assign(family="")
            pairs = (
                names.dropna(subset=[side])
                .drop_duplicates()
                .astype(object)
                .fillna("")
                .itertuples(index=False, name=None)
            )
            found |= {str(name): str(family) for name, family in pairs if not found.get(str(name))}
    return found


def _as_listed(run: RunFolder, names: Sequence[str]) -> list[str]:
    listed = [str(name) for name in run.manifest.get("datasets", {}) if str(name) in names]
    return [*listed, *(name for name in names if name not in listed)]


def _leaves(run: RunFolder) -> list[str]:
    """The leaves of the saved tree from left to right."""
    trees = [table for table in run.tables.values() if set(table.columns) >= _CLUSTERING]
    if not trees:
        return []
    nodes = {int(row.node): row for row in trees[0].itertuples()}
    waiting, leaves = [max(nodes)], []
    while waiting:
        node = nodes[waiting.pop()]
        if pd.isna(node.left):
            leaves.append(str(node.dataset))
        else:
            waiting += [int(node.right), int(node.left)]
    return leaves
