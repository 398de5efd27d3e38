"""How fast a layer x position grid is cross-validated: this package against the scikit-learn loop people write.

Made-up activations of a few cells, the same folds and penalties for both sides. Agreement comes first: on one cell every held-out
prediction is compared, and wrong numbers end the run. The loop is timed on some of its fits and extrapolated; the output says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for both sides: see benchmarks/README.md

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from probeshift.probes.fold_logistic import FoldLogistic
from probeshift.probes.fold_ridge import FoldRidge
from probeshift.probes.folds import Folds, cut_folds
from probeshift.provenance import environment

TARGETS = {"ridge": 10.0, "logistic": 4.0}
TOLERANCE = 1e-6
N_FOLDS = 5
ALPHAS = {"ridge": tuple(10.0**k for k in range(7, -1, -1)), "logistic": (1.0,)}


@dataclass(frozen=True)
class Shape:
    """Rows of one cell and the width of the model."""

    rows: int
    d_model: int


SHAPES = (Shape(1000, 1536), Shape(2500, 576), Shape(4000, 1536))
SMALL = (Shape(120, 40), Shape(60, 90))


@dataclass(frozen=True)
class Cell:
    """One layer and position: activations, numbers to predict, classes, folds."""

    acts: np.ndarray
    targets: np.ndarray
    folds: Folds


def make_cell(shape: Shape, learner: str, seed: int = 0) -> Cell:
    """Correlated rows with two massive coordinates far from zero; a direction carries the targets, with noise."""
    rng = np.random.default_rng([seed, shape.rows, shape.d_model])
    acts = rng.normal(size=(shape.rows, shape.d_model)) * (1 + np.arange(shape.d_model)) ** -0.5 * 5
    signal = acts[:, 3:40] @ rng.normal(size=acts[:, 3:40].shape[1])
    acts[:, 7 % shape.d_model] = 600 + 40 * acts[:, 7 % shape.d_model]
    acts[:, 11 % shape.d_model] = -200 + 15 * acts[:, 11 % shape.d_model]
    targets = signal / signal.std() + rng.normal(size=shape.rows)
    task = "regression" if learner == "ridge" else "classification"
    targets = targets if learner == "ridge" else (targets > np.median(targets)).astype(float)
    return Cell(acts.astype(np.float32), targets, cut_folds(targets, task, n_folds=N_FOLDS, seed=42))


def engine(cell: Cell, learner: str) -> list[np.ndarray]:
    """Held-out predictions of every fold for every penalty, and a fit on all rows."""
    problem = (FoldRidge if learner == "ridge" else FoldLogistic)(cell.acts, cell.targets, cell.folds, False)
    found = problem.predict([(fold,) for fold in range(N_FOLDS)], ALPHAS[learner])
    problem.fit(ALPHAS[learner][0])
    return found


def written(learner: str, alpha: float) -> Ridge | LogisticRegression:
    """The model of the original script."""
    return (
        Ridge(alpha=alpha, fit_intercept=False)
        if learner == "ridge"
        else LogisticRegression(C=1 / alpha, fit_intercept=False, max_iter=1000)
    )


def converged(learner: str, alpha: float) -> Ridge | LogisticRegression:
    """The same model, solved to its optimum."""
    if learner == "ridge":
        return Ridge(alpha=alpha, fit_intercept=False, solver="cholesky")
    return LogisticRegression(C=1 / alpha, fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=1000)


def held_out(model: Ridge | LogisticRegression, cell: Cell, fold: int) -> np.ndarray:
    held, acts = cell.folds.held_out(fold), cell.acts.astype(np.float64)
    model.fit(acts[~held], cell.targets[~held])
    return model.predict(acts[held]) if isinstance(model, Ridge) else model.predict_proba(acts[held])[:, 1]


def largest_difference(cell: Cell, learner: str) -> float:
    """Between the engine's predictions and a converged refit of one fold, over all penalties.

    In probability, or in standard deviations of the targets.
    """
    found = engine(cell, learner)[1]
    ours = found if learner == "ridge" else 1 / (1 + np.exp(-found))
    theirs = [held_out(converged(learner, alpha), cell, 1) for alpha in ALPHAS[learner]]
    scale = cell.targets.std() if learner == "ridge" else 1.0
    return float(np.abs(ours - np.stack(theirs)).max() / scale)


def seconds(job: Callable[[], object], clock: str) -> float:
    now = time.perf_counter if clock == "wall" else time.process_time
    start = now()
    job()
    return now() - start


def run_shape(shape: Shape, learner: str, *, cells: int, sample: int, clock: str) -> dict[str, object]:
    """Both sides on one shape; the loop by `sample` of its fits for each penalty sampled, extrapolated to all."""
    difference = largest_difference(make_cell(shape, learner), learner)
    if difference > TOLERANCE:
        raise SystemExit(
            f"{learner} on {shape}: predictions differ by {difference:.1e}, more than {TOLERANCE}. No times."
        )
    cells_of = [make_cell(shape, learner, seed) for seed in range(1, cells + 1)]
    ours = min(seconds(partial(engine, cell, learner), clock) for cell in cells_of)
    n_fits = N_FOLDS * len(ALPHAS[learner]) + 1
    alphas = ALPHAS[learner][:: max(1, len(ALPHAS[learner]) // sample)][:sample]
    kinds = {"loop, as written": written, "loop, converged": converged}
    loops = {
        name: n_fits
        * float(np.mean([seconds(partial(held_out, kind(learner, a), cells_of[0], 0), clock) for a in alphas]))
        for name, kind in kinds.items()
    }
    return {
        **asdict(shape),
        "learner": learner,
        "fits": n_fits,
        "timed_fits": len(alphas),
        "difference": difference,
        "engine": ours,
        **loops,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=None, help="threads of torch and BLAS")
    parser.add_argument("--cells", type=int, default=3, help="cells the engine is timed on; the fastest counts")
    parser.add_argument("--sample", type=int, default=8, help="penalties whose fit the loop is timed on")
    parser.add_argument(
        "--clock", choices=("wall", "cores"), default="wall", help="seconds on the wall, or of all cores together"
    )
    parser.add_argument("--small", action="store_true", help="tiny shapes, to see that it runs")
    parser.add_argument("--out", type=Path, default=None, help="write everything as JSON")
    options = parser.parse_args(arguments)
    if options.threads:
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(options.threads)
        threadpool_limits(options.threads)
    results = []
    for learner in TARGETS:
        for shape in SMALL if options.small else SHAPES:
            found = run_shape(shape, learner, cells=options.cells, sample=options.sample, clock=options.clock)
            results.append(found)
            print_result(found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"peak memory of the process, both sides: {peak:.0f} MB; {torch.get_num_threads()} threads, {options.clock} seconds"
    )
    if options.out:
        options.out.write_text(json.dumps({"results": results, "peak_mb": peak, "made": environment()}, indent=1))


def print_result(found: dict[str, object]) -> None:
    ours, target = float(found["engine"]), TARGETS[str(found["learner"])]  # type: ignore[arg-type]
    print(
        f"{found['learner']}: {found['rows']} rows x {found['d_model']}, {found['fits']} fits, largest difference {found['difference']:.1e}"
    )
    print(f"  engine            {ours:9.3f} s")
    for name in ("loop, as written", "loop, converged"):
        theirs = float(found[name])  # type: ignore[arg-type]
        print(
            f"  {name:<17} {theirs:9.3f} s   {theirs / ours:6.1f} times   (extrapolated from {found['timed_fits']} fits)"
        )
    ratio = float(found["loop, as written"]) / ours  # type: ignore[arg-type]
    print(f"  target {target:g} times: {'met' if ratio >= target else 'MISSED'}", flush=True)


if __name__ == "__main__":
    main()
