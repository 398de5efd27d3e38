"""From a name to a dataset: bundled, from a local folder, or from the hub."""

from __future__ import annotations

from pathlib import Path

from probeshift.datasets.dataset import Dataset, DatasetSpec, finish
from probeshift.datasets.folder import Piece, data_folder, find_pieces, matching_files, shown
from probeshift.datasets.hub import hub_installed, hub_name, read_hub
from probeshift.datasets.records import KeyOf, Source, read_source
from probeshift.datasets.repe import own_id
from probeshift.datasets.roles import Roles, choose, evaluation_only
from probeshift.datasets.splits import check_split_by, cut
from probeshift.errors import MissingError, UsageError, nearest

SOURCES = ("auto", "local", "hub")


def load(spec: DatasetSpec, *, data_dir: Path | None, source: str, split_by: str) -> Dataset:
    """A dataset from the first place that has it: bundled, the data folder, the hub.

    Raises:
        MissingError: it is in none of the places asked.
        UsageError: `source` or `split_by` is not known.
    """
    check_split_by(split_by)
    if source not in SOURCES:
        raise UsageError(f"source `{source}` is not known. {nearest(source, SOURCES)}")
    if spec.bundled:
        return spec.bundled(spec, split_by)
    root = data_folder(data_dir) if source != "hub" else None
    found = load_local(spec, root, split_by) if root else None
    if found:
        return found
    if spec.hub_id and (source == "hub" or (source == "auto" and hub_installed())):
        return load_hub(spec, split_by)
    raise _missing(spec, root)


def availability(spec: DatasetSpec, data_dir: Path | None) -> str:
    """Where a dataset could be read right now: bundled, local, hub (if it answers), or missing."""
    if spec.bundled:
        return "bundled"
    root = data_folder(data_dir)
    if root and (spec.load(spec, root, "question") if spec.load else find_pieces(root, spec.keywords, spec.layouts)):
        return "local"
    return "hub" if spec.hub_id and hub_installed() else "missing"


def load_local(spec: DatasetSpec, root: Path, split_by: str) -> Dataset | None:
    """The dataset from the files below a folder, or None when they are not there."""
    if spec.load:
        return spec.load(spec, root, split_by)
    pieces = find_pieces(root, spec.keywords, spec.layouts)
    if not pieces:
        return None
    sources = [
        read_source(name, piece.rows(), piece.layout.convert, key_of=_key_of(spec), cap=spec.cap)
        for name, piece in pieces.items()
    ]
    return assemble(spec, sources, pieces=pieces, root=root, split_by=split_by)


def load_hub(spec: DatasetSpec, split_by: str) -> Dataset:
    """The dataset from the hub or its local cache."""
    return assemble(spec, read_hub(spec, _key_of(spec)), pieces={}, root=None, split_by=split_by)


def _key_of(spec: DatasetSpec) -> KeyOf | None:
    return own_id if spec.family == "repe" else None


def _missing(spec: DatasetSpec, root: Path | None) -> MissingError:
    looked = (
        f"was not found in {root}{_unrecognised(spec, root)}" if root else "needs a data folder, and none was named"
    )
    words = f" with `{'` or `'.join(spec.keywords)}` in their path" if spec.keywords else ""
    hub = (
        f", or pip install 'probeshift[hf]' to read {hub_name(spec)} from the hub" if spec.hub_id else f" ({spec.note})"
    )
    return MissingError(
        f"dataset `{spec.name}` {looked}: looked for {spec.files}{words}. "
        f"Put the files there and name the folder with --data-dir or PROBESHIFT_DATA{hub}."
    )


def _unrecognised(spec: DatasetSpec, root: Path) -> str:
    names = [path.relative_to(root).as_posix() for path in matching_files(root, spec.keywords)] if spec.keywords else []
    more = ", ..." if len(names) > 3 else ""
    return f" ({', '.join(names[:3])}{more} in no layout known for it)" if names else ""


def assemble(
    spec: DatasetSpec, sources: list[Source], *, pieces: dict[str, Piece], root: Path | None, split_by: str
) -> Dataset:
    """The dataset made of the source splits that take part; the others are named in the split rule."""
    usable, left_out = _usable(spec, sources)
    roles = _roles(spec, usable)
    used = [source for source in usable if source.name in roles.shares]
    questions = [
        question for source in used for record in source.records if spec.write and (question := spec.write(record))
    ]
    statements, dropped = cut(
        spec.name, questions, seed=spec.seed, shares=roles.shares, split_by=split_by, grouped=spec.grouped
    )
    for source in used:
        dropped.update(source.dropped)
        if spec.cap and source.n_found > spec.cap:
            dropped[f"questions after the first {spec.cap} of a source split"] += source.n_found - spec.cap
    entity = f", by {spec.entity_name or 'question'} (entity)" if split_by == "entity" else ""
    taken = [pieces[source.name] for source in used if source.name in pieces]
    return finish(
        spec,
        statements,
        source=" + ".join(shown(root, piece) for piece in taken) if root else f"hub {hub_name(spec)}",
        split_rule="; ".join((roles.rule + entity, *left_out)),
        split_by=split_by,
        dropped=dropped,
        stand_in=next((piece.layout.stand_in for piece in taken if piece.layout.stand_in), None),
    )


def _roles(spec: DatasetSpec, sources: list[Source]) -> Roles:
    names = [source.name for source in sources]
    if spec.eval_only:
        return evaluation_only(next(name for name in ("validation", "test", "all", "train") if name in names))
    return choose(names, spec.source_splits)


def _usable(spec: DatasetSpec, sources: list[Source]) -> tuple[list[Source], list[str]]:
    """The source splits with answers, and a line for each one left out.

    Two-answer sets: where all questions have the same right answer, the answer's name alone would tell truth from
    falsehood.
    """
    usable = [source for source in sources if source.records]
    if not usable:
        raise UsageError(
            f"the files of `{spec.name}` hold no row with a usable answer: they may be a hidden-label test set; "
            "give the labelled ones."
        )
    one_sided = [
        s for s in usable if spec.family == "dlk" and len({record.fields["label"] for record in s.records}) == 1
    ]
    if len(one_sided) == len(usable):
        return usable, ["caution: every question has the same right answer"] if one_sided else []
    lines = [
        f"source split {s.name} left out: every question in it has the same right answer"
        for s in one_sided
        if s.name != "all"
    ]
    return [s for s in usable if s not in one_sided], lines
