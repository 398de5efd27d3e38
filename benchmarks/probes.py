"""How fast probes are fitted: this package's solvers against the scikit-learn and torch loop people write.

Seventeen made-up datasets with the shapes of the study's training sets, eight methods, the same activations for both sides.
Agreement comes first: on a sample both are compared with a converged solution, and wrong numbers end the run. The loop is timed
on a sample of (dataset, layer) pairs and extrapolated by shape; the output says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for both sides: see benchmarks/README.md

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from probeshift.probes import TrainingSet, find_method
from probeshift.provenance import environment

METHODS = ("dim", "lda", "lr", "lr-g", "ccs", "pca", "pca-g", "lat")
TARGET = 10.0
MAX_PROBABILITY, MAX_RELATIVE, MIN_COSINE = 1e-6, 1e-6, 1 - 1e-8


@dataclass(frozen=True)
class Shape:
    """Questions, rows per question (1: no questions) and how many of the study's datasets are like it."""

    questions: int
    options: int
    datasets: int

    @property
    def rows(self) -> int:
        return self.questions * self.options

    @property
    def methods(self) -> tuple[str, ...]:
        grouped = {"lr-g", "ccs", "pca-g"}
        return METHODS if self.options > 1 else tuple(m for m in METHODS if m not in grouped)


# 400 questions a set: 7 DLK and 2 GoT sets in pairs, 4 RepE sets of four answers and one of five, 231 translations, conj and disj.
STUDY = (Shape(400, 2, 9), Shape(400, 4, 4), Shape(400, 5, 1), Shape(231, 2, 1), Shape(400, 1, 2))
SMALL = (Shape(40, 2, 2), Shape(40, 4, 1), Shape(40, 1, 1))


def make_training(shape: Shape, d_model: int, layers: Sequence[int], device: str) -> TrainingSet:
    """Rows as residual streams are: correlated, the rows of a question alike, two massive coordinates, truth in one direction."""
    acts = np.stack([_acts(shape, d_model, layer) for layer in layers])
    rows = np.arange(shape.rows)
    labels = rows % shape.options == 0 if shape.options > 1 else rows % 2 == 0
    groups = rows // shape.options if shape.options > 1 else None
    types = rows % 2 if shape.options == 2 else None
    return TrainingSet(f"{shape.questions}x{shape.options}", tuple(layers), acts, labels, groups, types, device=device)


def _acts(shape: Shape, d_model: int, layer: int) -> np.ndarray:
    rng = np.random.default_rng([shape.questions, shape.options, layer])
    spectrum = (1 + np.arange(d_model)) ** -0.5 * 5
    question = rng.normal(size=(shape.questions, d_model)).repeat(shape.options, axis=0)
    answer = rng.normal(size=(shape.rows, d_model))
    true = np.arange(shape.rows) % max(2, shape.options) == 0
    acts = (question + 0.5 * answer) * spectrum + true[:, None] * rng.normal(size=d_model) * 0.1
    acts[:, 7] = 600 + 40 * acts[:, 7]
    acts[:, 11] = -200 + 15 * acts[:, 11]
    return acts.astype(np.float32)


CLOCKS = {"wall": time.perf_counter, "cores": time.process_time}


def engine(training: TrainingSet, methods: Sequence[str], clock: str) -> dict[str, float]:
    """Seconds of each method on one read of the activations; what they share is in the first that needs it."""
    seconds, now = {}, CLOCKS[clock]
    for name in methods:
        start = now()
        find_method(name).fit(training, list(training.layers))
        _wait(training.device)
        seconds[name] = now() - start
    return seconds


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def time_loop(contestant: Loop, training: TrainingSet, methods: Sequence[str], clock: str) -> dict[str, float]:
    """Seconds of each method, one layer after the other."""
    seconds, now = dict.fromkeys(methods, 0.0), CLOCKS[clock]
    for index in range(len(training.layers)):
        for name in methods:
            start = now()
            contestant.fit(name, training, index)
            seconds[name] += now() - start
    return seconds


def _centred(acts: np.ndarray, codes: np.ndarray | None) -> np.ndarray:
    if codes is None:
        return acts
    sums = np.zeros((codes.max() + 1, acts.shape[1]), dtype=acts.dtype)
    np.add.at(sums, codes, acts)
    return acts - (sums / np.bincount(codes)[:, None].astype(acts.dtype))[codes]


@dataclass(frozen=True)
class Loop:
    """One probe after the other. `exact` False: as people write it, float32 with default tolerances and solvers, one CCS try
    unless it fails. `exact` True: what scikit-learn and torch need for the results compared here: float64, a tolerance that
    meets the gate (its fastest solver that does), a solver of the first component that is not randomised, ten CCS restarts.
    """

    exact: bool

    def fit(self, name: str, t: TrainingSet, index: int) -> np.ndarray:
        acts = t.acts[index].astype(np.float64) if self.exact else t.acts[index]
        centred = _centred(acts, t.answer_types) if name in ("pca", "lat", "ccs") else acts
        if name == "dim":
            return acts[t.labels].mean(0) - acts[~t.labels].mean(0)
        if name == "lda":
            return LinearDiscriminantAnalysis().fit(acts, t.labels).coef_[0]
        if name in ("lr", "lr-g"):
            return self._logistic(acts if name == "lr" else _centred(acts, t.groups), t.labels)
        if name == "lat":
            order = np.random.default_rng(0).permutation(len(acts))
            half = len(acts) // 2
            return self._component(centred[order[:half]] - centred[order[half : 2 * half]])
        if name == "ccs":
            return self._ccs(t, centred)[1]
        return self._component(centred if name == "pca" else _centred(_centred(acts, t.groups), t.answer_types))

    def _logistic(self, acts: np.ndarray, labels: np.ndarray) -> np.ndarray:
        tolerance = 1e-8 if self.exact else 1e-4
        return LogisticRegression(solver="newton-cg", tol=tolerance, max_iter=10_000).fit(acts, labels).coef_[0]

    def _component(self, acts: np.ndarray) -> np.ndarray:
        solver = "arpack" if self.exact else "auto"
        return PCA(n_components=1, svd_solver=solver, random_state=0).fit(acts).components_[0]

    def _ccs(self, t: TrainingSet, acts: np.ndarray) -> tuple[float, np.ndarray]:
        """The lowest loss and its direction: best of ten, or the report's rule of at most three tries."""
        assert t.groups is not None
        false = [np.flatnonzero((t.groups == g) & ~t.labels)[0] for g in range(t.groups.max() + 1)]
        pairs = [torch.from_numpy(acts[rows]) for rows in (np.flatnonzero(t.labels), false)]
        options = {"max_iter": 200, "line_search_fn": "strong_wolfe"} if self.exact else {"max_iter": 100, "lr": 0.1}
        best: tuple[float, np.ndarray] = (float("inf"), np.zeros(0))
        for seed in range(10 if self.exact else 3):
            torch.manual_seed(seed)
            probe = torch.nn.Linear(acts.shape[1], 1, dtype=pairs[0].dtype)
            optimiser = torch.optim.LBFGS(probe.parameters(), **options)
            optimiser.step(lambda: _ccs_step(probe, optimiser, *pairs))  # noqa: B023
            loss = float(_ccs_loss(probe, *pairs).detach())
            best = min(best, (loss, probe.weight.detach().numpy()[0]), key=lambda found: found[0])
            if not self.exact and loss <= 0.2:
                break
        return best


def _ccs_loss(probe: torch.nn.Linear, true: torch.Tensor, false: torch.Tensor) -> torch.Tensor:
    p, q = torch.sigmoid(probe(true)), torch.sigmoid(probe(false))
    size = sum((x**2).sum() for x in probe.parameters())
    return ((p - (1 - q)) ** 2).mean() + (torch.minimum(p, q) ** 2).mean() + 0.01 * size


def _ccs_step(
    probe: torch.nn.Linear, optimiser: torch.optim.Optimizer, true: torch.Tensor, false: torch.Tensor
) -> torch.Tensor:
    optimiser.zero_grad()
    loss = _ccs_loss(probe, true, false)
    loss.backward()
    return loss


LOOPS = {"loop, same results": Loop(exact=True), "loop, as people write it": Loop(exact=False)}


def check_agreement(shape: Shape, d_model: int, device: str) -> dict[str, float]:
    """The largest differences to converged float64 solutions on one layer.

    Raises:
        SystemExit: one is beyond its tolerance.
    """
    t = make_training(shape, d_model, [0], device)
    acts = t.acts[0].astype(np.float64)
    found = {name: find_method(name).fit(t, [0]) for name in ("lda", "lr", "pca")}
    score = {n: acts @ f.directions[0] + (0 if f.biases is None else f.biases[0]) for n, f in found.items()}
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(acts, t.labels)
    lda = LinearDiscriminantAnalysis().fit(acts, t.labels).decision_function(acts)
    centred = _centred(acts, t.answer_types)
    first = np.linalg.svd(centred - centred.mean(0), full_matrices=False)[2][0]
    differences: dict[str, float] = {
        "lr, probability": float(np.abs(1 / (1 + np.exp(-score["lr"])) - exact.predict_proba(acts)[:, 1]).max()),
        "lda, score relative": float(np.abs(score["lda"] - lda).max() / np.abs(lda).max()),
        "pca, 1 - cosine": float(1 - abs(found["pca"].directions[0] @ first)),
    }
    limits = dict(zip(differences, (MAX_PROBABILITY, MAX_RELATIVE, 1 - MIN_COSINE), strict=True))
    wrong = [name for name, value in differences.items() if not value <= limits[name]]
    if wrong:
        raise SystemExit(
            f"{shape}: {', '.join(f'{n} differs by {differences[n]:.1e}' for n in wrong)}; no times are shown."
        )
    return differences


def run_shape(shape: Shape, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds per (dataset, layer) of both sides on one shape: the engine on all layers, the loop on a few of them."""
    chunk = max(1, args.layer_bytes // (shape.rows * args.d_model * 4))
    ours = dict.fromkeys(shape.methods, 0.0)
    for first in range(0, args.layers, chunk):
        layers = range(first, min(first + chunk, args.layers))
        training = make_training(shape, args.d_model, layers, args.device)
        for name, seconds in engine(training, shape.methods, args.clock).items():
            ours[name] += seconds / args.layers
    sampled = make_training(shape, args.d_model, range(args.sample), args.device)
    seconds = {"engine": ours}
    for name, contestant in LOOPS.items():
        timed = time_loop(contestant, sampled, shape.methods, args.clock)
        seconds[name] = {method: value / args.sample for method, value in timed.items()}
    return {"shape": asdict(shape), "rows": shape.rows, "seconds": seconds, "loop_layers_timed": args.sample}


def report(results: Sequence[dict[str, Any]], layers: int) -> dict[str, Any]:
    """Totals over all datasets and layers, each shape counted as often as the study has it."""
    sides = ("engine", *LOOPS)
    times = [r["shape"]["datasets"] * layers for r in results]
    by_method = {
        m: {
            side: sum(n * r["seconds"][side].get(m, 0.0) for n, r in zip(times, results, strict=True)) for side in sides
        }
        for m in METHODS
    }
    total = {side: sum(by_method[m][side] for m in METHODS) for side in sides}
    print(f"seconds              {'engine':>10}" + "".join(f"{name:>34}" for name in LOOPS))
    for result in results:
        once = {side: sum(result["seconds"][side].values()) for side in sides}
        print(f"{result['rows']:>5} rows, one layer {_line(once)}")
    for method in METHODS:
        print(f"{method:>10}, in all   {_line(by_method[method])}")
    print(f"       all, in all   {_line(total)}   (target {TARGET:.0f}; the loops are extrapolated)")
    return {"seconds": total, "by_method": by_method, "ratio": {n: total[n] / total["engine"] for n in LOOPS}}


def _line(seconds: dict[str, float]) -> str:
    ours = seconds["engine"]
    rest = "".join(f"{seconds[name]:>20.2f} ({seconds[name] / max(ours, 1e-9):5.1f} times)" for name in LOOPS)
    return f"{ours:>10.2f}{rest}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d-model", type=int, default=2560)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--sample", type=int, default=2, help="layers of each shape on which the loop is timed")
    parser.add_argument("--threads", type=int, help="of torch and of the libraries below numpy and scikit-learn")
    parser.add_argument(
        "--clock", choices=tuple(CLOCKS), default="wall", help="cores: processor time, for a machine in use"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--small", action="store_true", help="small shapes, for a look")
    parser.add_argument("--out", type=Path, help="write everything as JSON")
    args = parser.parse_args(argv)
    args.layer_bytes = {"cpu": 4 << 20, "cuda": 1 << 30}[args.device]
    if args.threads:
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(args.threads)
        threadpool_limits(args.threads)
    shapes = SMALL if args.small else STUDY
    agreement = {f"{s.rows} rows": check_agreement(s, args.d_model, args.device) for s in (shapes[0], shapes[-1])}
    for name, differences in agreement.items():
        print(
            f"agreement with converged solutions, {name}: " + ", ".join(f"{k} {v:.1e}" for k, v in differences.items())
        )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = [run_shape(shape, args) for shape in shapes]
    summary = report(results, args.layers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB (both sides in one process, {before / 1024:.0f} MB after the agreement check)")
    if args.out:
        everything = {
            "made": environment(),
            "options": vars(args),
            "agreement": agreement,
            "shapes": results,
            **summary,
        }
        args.out.write_text(json.dumps({**everything, "peak_mb": peak}, indent=1, default=str))


if __name__ == "__main__":
    main()
