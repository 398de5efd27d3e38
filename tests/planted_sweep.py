"""A cache in the study's layout with planted truth: a behaviour feature every source shares, and features that only tell the source."""

import json

import numpy as np
import yaml

from probeshift.experiments.sweep_settings import bundled_sweep

SETS = {
    # name: (positives, negatives, which source features are on)
    "train": (60, 90, 0), "sycophant": (40, 0, 1), "model_organism": (50, 0, 2), "benchmark": (60, 120, 3), "test": (51, 55, 0),
}  # fmt: skip
N_FEATURES = 160


def write_cache(folder, sets=SETS, *, seed=0, scale=None, strength=2.0, n_features=N_FEATURES):
    """`scale` multiplies a set's activations, as another extraction would. Each source shows the behaviour in features of its own
    (the first source's do not say anything about the others') and weakly in a shared one."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, (n_true, n_false, kind)) in enumerate(sets.items()):
        rng = np.random.default_rng([seed, number])
        labels = rng.permutation(np.arange(n_true + n_false) < n_true)
        values = rng.exponential(size=(len(labels), n_features)) * (rng.random((len(labels), n_features)) < 0.08)
        own = slice(10 + 20 * kind, 20 + 20 * kind)
        values[:, own] += strength * labels[:, None] * rng.random((len(labels), 10))
        values[:, 0] += 0.8 * labels
        values[:, 100 + kind] += 1.0
        np.save(folder / f"{name}_activations.npy", (values * (scale or {}).get(name, 1.0)).astype(np.float32))
        words = ["potential_faking" if name == "test" else "alignment_faking" if t else "aligned" for t in labels]
        words = [w if t else "aligned" for w, t in zip(words, labels, strict=True)]
        if name in ("train", "test"):
            np.save(folder / f"{name}_labels.npy", np.array(words))
        else:
            (folder / f"{name}_labels.json").write_text(json.dumps({"labels": words}))
    return folder


def copies(home, also=None, **more):
    """A cache with texts, ten of them copied from the test set into training, and forty others into the set `also`."""
    cache = write_cache(home / "cache/layer_40")
    rng = np.random.default_rng(0)
    texts = {
        n: [" ".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 30)) for _ in range(a + b)]
        for n, (a, b, _) in SETS.items()
    }
    texts["train"][:10] = texts["test"][:10]
    if also:
        texts[also][:40] = texts["test"][40:80]
    for name, rows in texts.items():
        (cache / f"{name}_texts.json").write_text(json.dumps(rows))
    (home / "sweep.yaml").write_text(
        yaml.safe_dump({**yaml.safe_load(bundled_sweep()), "subsets": False, "size_draws": 0, **more})
    )


__all__ = ["N_FEATURES", "SETS", "copies", "write_cache"]
