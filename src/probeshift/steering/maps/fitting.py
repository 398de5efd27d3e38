"""From two models and generic text to maps between them, with everything that must be recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from probeshift.models import LanguageModel, weight_hash
from probeshift.provenance import sha256_json
from probeshift.steering.contrasts import Contrast
from probeshift.steering.maps.alignment import Alignment, AlignmentText, align
from probeshift.steering.maps.evidence import Evidence, gather
from probeshift.steering.maps.layers import SWEEPS, relative_layer, sweep_layers
from probeshift.steering.maps.method import MapMethod, Solved
from probeshift.steering.maps.moments import r_squared
from probeshift.steering.maps.overlap import refuse_overlap
from probeshift.steering.maps.transfer_map import MapCard, TransferMap

# Pairs kept in memory for maps that cannot be fitted from sums: 92 MB between two models of width 576.
SAMPLE_PAIRS = 20_000


def fit_maps(
    source: LanguageModel,
    target: LanguageModel,
    texts: Sequence[AlignmentText],
    methods: Sequence[MapMethod],
    *,
    source_layer: int,
    target_layer: int | str = "relative",
    concept_rows: Iterable[Contrast],
    pairing: str | None = None,
    seeds: Sequence[int] | Mapping[str, Sequence[int]] = (0,),
    max_tokens: int | None = None,
    sample_pairs: int = SAMPLE_PAIRS,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[TransferMap]:
    """One map per method and seed, all from one pass over the texts (one more where the layer is chosen by a sweep).

    `target_layer` is a block, `relative` (the same relative depth), `cka` or `r2`. `concept_rows` is all the data that any
    vector was made from or is judged by; text that shares words with it is refused. `seeds` may differ by method's name.

    Raises:
        UsageError: overlapping or too little text, a layer outside the models, or widths a method cannot do.
    """
    refuse_overlap(texts, concept_rows)
    alignment = align(source, target, texts, pairing=pairing, max_tokens=max_tokens)
    layer, choice = _target_layer(alignment, source_layer, target_layer)
    wanted = sample_pairs if any(method.needs_sample for method in methods) else 0
    of = {method.name: seeds[method.name] if isinstance(seeds, Mapping) else seeds for method in methods}
    seed = min(one for own in of.values() for one in own)
    evidence = gather(alignment, source_layer, [layer], sample_pairs=wanted, seed=seed, on_progress=on_progress)[layer]
    text_hash = sha256_json([text if isinstance(text, str) else list(text) for text in texts])
    return [
        _map(
            alignment,
            evidence,
            method,
            seed,
            layers=(source_layer, layer),
            choice=choice,
            text=text_hash,
            max_tokens=max_tokens,
        )
        for method in methods
        for seed in of[method.name]
    ]


def _target_layer(alignment: Alignment, source_layer: int, asked: int | str) -> tuple[int, str]:
    n_source, n_target = alignment.source.info.n_layers, alignment.target.info.n_layers
    relative = relative_layer(source_layer, n_source, n_target)
    if isinstance(asked, int):
        return asked, "explicit"
    if asked in SWEEPS:
        found = sweep_layers(alignment, source_layer, range(n_target), asked)
        return found.best, f"best of all {n_target} by held-out {asked} ({found.scores[found.best]:.3f})"
    return relative, "relative depth"


def _map(
    alignment: Alignment,
    evidence: Evidence,
    method: MapMethod,
    seed: int,
    *,
    layers: tuple[int, int],
    choice: str,
    text: str,
    max_tokens: int | None,
) -> TransferMap:
    solved = method.solve(evidence, seed)
    source, target = alignment.source, alignment.target
    card = MapCard(
        method=method.name,
        control=method.control,
        source_model=source.info.name,
        source_weights=weight_hash(source.info),
        source_layer=layers[0],
        target_model=target.info.name,
        target_weights=weight_hash(target.info),
        target_revision=target.info.revision,
        target_dtype=str(target.dtype).removeprefix("torch."),
        target_layer=layers[1],
        layer_choice=choice,
        pairing=alignment.pairing,
        text=text,
        n_train=evidence.train.n,
        n_heldout=evidence.heldout.n,
        seed=seed,
        r_squared=r_squared(solved.weight, evidence.train, evidence.heldout),
        choices=dict(solved.choices),
        max_tokens=max_tokens,
    )
    return _assembled(card, solved, evidence)


def _assembled(card: MapCard, solved: Solved, evidence: Evidence) -> TransferMap:
    mean_x, mean_y = (mean.numpy() for mean in (evidence.train.mean_x, evidence.train.mean_y))
    return TransferMap(card, solved.weight.float().numpy(), mean_x, mean_y, solved.residual)
