"""The distribution sweep at the study's size: this package against StandardScaler + LogisticRegression + cross_val_score.

6,068 rows of 16,384 features, 5 % of them active, four sources, one test set: four cumulative steps with cross-validation, and all
subsets of sources. Agreement comes first: on sampled fits both sides are compared at convergence, and other scores end the run.
The loop is timed on a sample of fits and extrapolated by rows; the output says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for both sides: see benchmarks/README.md

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probeshift.experiments import sweep
from probeshift.experiments.sweep_settings import read_sweep
from probeshift.mixture_scores import load_scores
from probeshift.provenance import environment

# Rows of the study: positives, negatives. test is gold_106.
SETS = {
    "train": (1057, 1632), "sycophant": (319, 0), "model_organism": (730, 0), "benchmark": (520, 1810), "test": (51, 55),
}  # fmt: skip
MAX_SCORE_DIFFERENCE = (
    1e-4  # of decision scores with a spread of about 10: scikit-learn's float64 solution at tolerance 1e-10
)


def write_cache(folder: Path, n_features: int, share: float, scale: float) -> int:
    """Made-up SAE features in the study's layout; returns the rows that are not of the test set."""
    folder.mkdir(parents=True, exist_ok=True)
    spread = np.random.default_rng(0).beta(
        0.6, 0.6 * (1 / share - 1), size=n_features
    )  # some features common, most rare
    for number, (name, counts) in enumerate(SETS.items()):
        rng = np.random.default_rng([1, number])
        n_true, n_false = (max(12, round(n * scale)) if n else 0 for n in counts)
        labels = rng.permutation(np.arange(n_true + n_false) < n_true)
        lift = np.where(
            np.arange(n_features) % 97 == number, 3.0, 1.0
        )  # each source shows the behaviour in features of its own
        active = rng.random((len(labels), n_features)) < spread * np.where(labels[:, None], lift, 1.0)
        np.save(folder / f"{name}_activations.npy", (active * rng.exponential(size=active.shape)).astype(np.float32))
        np.save(folder / f"{name}_labels.npy", labels.astype(np.int64))
    return sum(len(np.load(folder / f"{n}_labels.npy")) for n in SETS if n != "test")


def ours(cache: Path, output: Path) -> tuple[dict[str, float], Any, Any]:
    """Seconds of the whole sweep by the clock and of all threads together, its settings, and its scores."""
    settings = read_sweep(None, cache=cache, output_dir=output)
    start, busy = time.perf_counter(), time.process_time()
    sweep.run(settings)
    seconds = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - busy}
    return seconds, settings, load_scores(output / "scores")


def exact(penalty_c: float) -> Any:
    """scikit-learn at convergence."""
    probe = LogisticRegression(C=penalty_c, solver="newton-cg", tol=1e-10, max_iter=20_000)
    return make_pipeline(StandardScaler(), probe)


def as_written(penalty_c: float) -> Any:
    """As the study has it: default solver and tolerance."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=penalty_c, max_iter=1000))


def agreement(values: np.ndarray, scores: Any, penalty_c: float, converged: bool) -> dict[str, float]:
    """How far one step's scores and AUROC are from scikit-learn's, on rows it was not trained on."""
    index = scores.of_step(scores.steps[0])
    members, rest = scores.members[index], ~scores.members[index]
    start = time.perf_counter()
    made = (exact if converged else as_written)(penalty_c).fit(values[members], scores.labels[members])
    seconds = time.perf_counter() - start
    theirs, mine = made.decision_function(values[rest]), scores.scores[index][rest]
    test = scores.where("gold_106")[rest]
    aurocs = [float(roc_auc_score(scores.labels[rest][test], s[test])) for s in (mine, theirs)]
    return {
        "rows": int(members.sum()), "seconds": seconds, "largest_difference": float(np.abs(theirs - mine).max()),
        "spread": float(np.std(theirs)), "auroc_ours": aurocs[0], "auroc_scikit_learn": aurocs[1],
    }  # fmt: skip


def refuse_other_scores(difference: float) -> None:
    """End the run when the two sides do not compute the same thing."""
    if difference > MAX_SCORE_DIFFERENCE:
        raise SystemExit(
            f"scores differ by {difference:.2g}, more than {MAX_SCORE_DIFFERENCE:g}: no comparison of speed holds"
        )


def loop_seconds(values: np.ndarray, scores: Any, settings: Any, make: Any, n_folds: int) -> dict[str, float]:
    """Seconds of scaler, fit and five folds of the first step, and what the whole sweep would take at the same seconds per row."""
    members = scores.members[scores.of_step(scores.steps[0])]
    rows, labels = values[members], scores.labels[members]
    start = time.perf_counter()
    folds = StratifiedKFold(settings.folds, shuffle=True, random_state=settings.seed)
    part = list(folds.split(rows, labels))[:n_folds]
    cross_val_score(make(settings.penalty_c), rows, labels, cv=part, scoring="roc_auc")
    per_row = (time.perf_counter() - start) / sum(len(train) for train, _ in part)
    fitted = 0
    for mixture, chosen in zip(scores.mixtures, scores.members, strict=True):
        n = int(chosen.sum())
        share = 1 - 1 / settings.folds
        repeats = {"step": settings.repeats, "left_out": 1}.get(mixture.kind, 0)
        fitted += n + round(n * share * settings.folds * repeats)
    return {
        "timed_folds": n_folds,
        "seconds_per_row": per_row,
        "rows_fitted_in_all": fitted,
        "extrapolated_seconds": per_row * fitted,
    }


def measure(given: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Run both sides and say what came out."""
    n_rows = write_cache(home / "cache", given.features, given.active, given.scale)
    seconds, settings, scores = ours(home / "cache", home / "results")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    order = ("train", "sycophant", "model_organism", "benchmark", "test")
    values = np.concatenate([np.load(home / "cache" / f"{name}_activations.npy") for name in order]).astype(np.float64)
    kinds = {
        kind: sum(m.kind == kind for m in scores.mixtures) for kind in ("step", "left_out", "subset", "size_matched")
    }
    print(f"{n_rows:,} rows x {given.features:,} features, {np.mean(values != 0):.1%} active; mixtures: {kinds}")
    print(
        f"this package: {seconds['seconds']:.1f} s, {seconds['cpu_seconds']:.1f} s of processor time, peak memory {peak / 1e9:.2f} GB"
    )
    loop = loop_seconds(values, scores, settings, as_written, given.folds)
    print(f"the loop as written: {loop['extrapolated_seconds']:.0f} s extrapolated from {given.folds} fold(s)")
    default = agreement(values, scores, settings.penalty_c, converged=False)
    print(f"its default stop against the optimum: scores differ by up to {default['largest_difference']:.2g}")
    found = {"rows": n_rows, "features": given.features, **seconds, "peak_bytes": peak, "mixtures": kinds}
    found |= {"loop": loop, "as_written": default}
    if given.converged:
        found["converged"] = agreement(values, scores, settings.penalty_c, converged=True)
        difference = found["converged"]["largest_difference"]
        fit = found["converged"]["seconds"]
        print(f"scikit-learn at convergence: {fit:.1f} s a fit, scores differ by up to {difference:.2g}")
        refuse_other_scores(difference)
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=16_384)
    parser.add_argument("--active", type=float, default=0.05, help="share of features active in a row")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the study's rows")
    parser.add_argument("--folds", type=int, default=1, help="folds of the loop that are timed")
    parser.add_argument("--converged", action="store_true", help="also time and compare scikit-learn at convergence")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as home:
        found = measure(given, Path(home))
    if given.out:
        given.out.write_text(json.dumps({**found, "made": environment()}, indent=1))


if __name__ == "__main__":
    main()
