"""How fast probes are fitted: this package's solvers against the scikit-learn and torch loop people write.

Seventeen made-up datasets with the shapes of the study's training sets, eight methods, the same activations for both sides.
Agreement comes first: on a sample both are compared with a converged solution, and wrong numbers end the run. The loop is timed
on a sample of (dataset, layer) pairs and extrapolated by shape; the output says so.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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


def loop(training: TrainingSet, methods: Sequence[str], clock: str) -> dict[str, float]:
    """Seconds of each method, one layer after the other, float32 as extracted."""
    seconds, now = dict.fromkeys(methods, 0.0), CLOCKS[clock]
    for index in range(len(training.layers)):
        for name in methods:
            start = now()
            LOOP[name](training, training.acts[index])
            seconds[name] += now() - start
    return seconds


def _centred(acts: np.ndarray, codes: np.ndarray | None) -> np.ndarray:
    if codes is None:
        return acts
    sums = np.zeros((codes.max() + 1, acts.shape[1]), dtype=acts.dtype)
    np.add.at(sums, codes, acts)
    return acts - (sums / np.bincount(codes)[:, None].astype(acts.dtype))[codes]


def _loop_dim(t: TrainingSet, acts: np.ndarray) -> np.ndarray:
    return acts[t.labels].mean(0) - acts[~t.labels].mean(0)


def _loop_lda(t: TrainingSet, acts: np.ndarray) -> np.ndarray:
    return LinearDiscriminantAnalysis().fit(acts, t.labels).coef_[0]


def _loop_lr(t: TrainingSet, acts: np.ndarray) -> np.ndarray:
    return LogisticRegression(solver="newton-cg", max_iter=10_000).fit(acts, t.labels).coef_[0]


def _loop_lr_g(t: TrainingSet, acts: np.ndarray) -> np.ndarray:
    return _loop_lr(t, _centred(acts, t.groups))


def _loop_pca(t: TrainingSet, acts: np.ndarray) -> np.ndarray:
    return PCA(n_components=1).fit(_centred(acts, t.answer_types)).components_[0]


def _loop_pca_g(t: TrainingSet, acts: np.ndarray) -> np.ndarray:
    return _loop_pca(t, _centred(acts, t.groups))


def _loop_lat(t: TrainingSet, acts: np.ndarray) -> np.ndarray:
    acts = _centred(acts, t.answer_types)
    order = np.random.default_rng(0).permutation(len(acts))
    half = len(acts) // 2
    return PCA(n_components=1).fit(acts[order[:half]] - acts[order[half : 2 * half]]).components_[0]


def _loop_ccs(t: TrainingSet, acts: np.ndarray) -> np.ndarray:
    """The report's rule: up to three tries of one L-BFGS call, the first with a loss of at most 0.2."""
    assert t.groups is not None
    acts = _centred(acts, t.answer_types)
    true = torch.from_numpy(acts[t.labels])
    false = torch.from_numpy(
        acts[np.array([np.flatnonzero((t.groups == g) & ~t.labels)[0] for g in range(t.groups.max() + 1)])]
    )
    for seed in range(3):
        torch.manual_seed(seed)
        probe = torch.nn.Linear(acts.shape[1], 1)
        optimiser = torch.optim.LBFGS(probe.parameters(), lr=0.1, max_iter=100)
        optimiser.step(lambda: _ccs_step(probe, optimiser, true, false))  # noqa: B023
        if float(_ccs_loss(probe, true, false).detach()) <= 0.2:
            break
    return probe.weight.detach().numpy()[0]


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


LOOP: dict[str, Callable[[TrainingSet, np.ndarray], np.ndarray]] = {
    "dim": _loop_dim, "lda": _loop_lda, "lr": _loop_lr, "lr-g": _loop_lr_g, "ccs": _loop_ccs, "pca": _loop_pca,
    "pca-g": _loop_pca_g, "lat": _loop_lat,
}  # fmt: skip


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
    differences = {
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
    theirs = {name: seconds / args.sample for name, seconds in loop(sampled, shape.methods, args.clock).items()}
    return {
        "shape": asdict(shape),
        "rows": shape.rows,
        "engine": ours,
        "loop": theirs,
        "loop_layers_timed": args.sample,
    }


def report(results: Sequence[dict[str, Any]], layers: int) -> dict[str, Any]:
    """Totals over all datasets and layers, each shape counted as often as the study has it."""
    times = [r["shape"]["datasets"] * layers for r in results]
    total = {
        side: sum(n * sum(r[side].values()) for n, r in zip(times, results, strict=True)) for side in ("engine", "loop")
    }
    by_method = {
        m: [sum(n * r[side].get(m, 0.0) for n, r in zip(times, results, strict=True)) for side in ("engine", "loop")]
        for m in METHODS
    }
    for result in results:
        ours, theirs = sum(result["engine"].values()), sum(result["loop"].values())
        print(
            f"{result['rows']:>6} rows  engine {ours:7.3f} s  loop {theirs:7.3f} s  per dataset and layer, ratio {theirs / ours:.1f}"
        )
    for method, (ours, theirs) in by_method.items():
        print(
            f"{method:>6}       engine {ours:7.1f} s  loop {theirs:7.1f} s  in all, ratio {theirs / max(ours, 1e-9):.1f}"
        )
    ratio = total["loop"] / total["engine"]
    print(
        f"all: engine {total['engine']:.0f} s, loop {total['loop']:.0f} s (extrapolated), ratio {ratio:.1f} (target {TARGET:.0f})"
    )
    return {"seconds": total, "by_method": by_method, "ratio": ratio}


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
