"""What a study says, in plain sentences: every one is made of numbers, and changes with them. `caveats` has what it does not say.

For the terminal and the markdown file beside the figures. Recovered accuracy in percent of the ceiling; brackets are 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from probeshift.metrics.recovered import CEILING_NOT_ABOVE_CHANCE, CEILING_NOT_CLEAR
from probeshift.report.comparison.caveats import inverted, limits, published_adds
from probeshift.report.comparison.wording import LEVEL, bounded, in_words, percent, points, small
from probeshift.report.palette import PROTOCOL_WORDS
from probeshift.summaries.blocks import Blocks
from probeshift.summaries.headline import Headline, headline, mean_recovered
from probeshift.summaries.paired import bootstrap_p, comparable_cells, compare_methods, methods_of
from probeshift.summaries.protocols import protocol_table
from probeshift.summaries.resampling import mean_table
from probeshift.summaries.rows import CONTROLS, listed, pick
from probeshift.summaries.study import Study


def reading(
    study: Study,
    published_study: Study | None = None,
    *,
    pairs: pd.DataFrame | None = None,
    protocols: pd.DataFrame | None = None,
) -> list[str]:
    """Sentences on one study; with the published study of the same probes, also on what that procedure adds.

    `pairs` and `protocols` are the tables of `compare_methods` and `protocol_table`, made here when not given.

    Raises:
        UsageError: `published_study` is not the published reading of the same probes, or there are no selection rows.
    """
    facts = _Facts.of(study, pairs)
    sentences = [_scope(study), _best_probe(study), *_methods(facts), *_control(facts), _above_chance(study)]
    sentences += [*inverted(study), *_hardest_set(study), *limits(study, facts.pairs)]
    if published_study is None:
        return sentences
    return sentences + published_adds(protocol_table(study, published_study) if protocols is None else protocols)


@dataclass(frozen=True)
class _Facts:
    """What several sentences need: methods in order, means by method, and the leading method's pairs by the other's name."""

    study: Study
    methods: tuple[str, ...]
    blocks: Blocks
    pairs: pd.DataFrame

    @classmethod
    def of(cls, study: Study, pairs: pd.DataFrame | None) -> _Facts:
        cells = comparable_cells(study)
        methods = methods_of(study, cells)
        pairs = compare_methods(study) if pairs is None else pairs
        leading = pairs[pairs["method_a"] == methods[0]].set_index("method_b")
        return cls(study, tuple(methods), Blocks.of(study, cells, ["method"]), leading)

    @property
    def leader(self) -> str:
        return self.methods[0]

    @property
    def rivals(self) -> list[str]:
        return [name for name in self.methods[1:] if name not in CONTROLS]

    def mean(self, *methods: str) -> Headline:
        return headline(self.blocks.union(self.blocks.groups["method"].isin(methods).to_numpy()))


def _scope(study: Study) -> str:
    counted = study.counted
    undefined = int(counted[study.measure].isna().sum())
    left_out = f" {undefined} of them are undefined and in no mean." if undefined else ""
    return (
        f"{study.model}, {study.protocol} ({PROTOCOL_WORDS[study.protocol]}). Means count {len(counted)} cells of learned probes "
        f"on {counted['test'].nunique()} test sets: {study.counted_words}.{left_out}"
    )


def _best_probe(study: Study) -> str:
    best = study.best
    cells = pick(study.learned, method=best.method, train=best.train, layer=best.layer)
    found = mean_recovered(study, cells if study.published else cells[~cells["in_distribution"].astype(bool)])
    reaches = " The interval reaches the ceiling: that it loses anything is not shown." if found.high >= 1 else ""
    return (
        f"Best probe: `{best.method}` on `{best.train}`, layer {best.layer}, chosen on the selection split, where it beats "
        f"{percent(best.score)} of the other probes. On the test split it recovers {bounded(found)}, mean over {found.n} test "
        f"sets, its own {'included' if study.published else 'excluded'}.{reaches}"
    )


def _methods(facts: _Facts) -> list[str]:
    leader, others = facts.leader, facts.rivals
    if not others:
        return [f"Only `{leader}` was evaluated (mean {bounded(facts.mean(leader))}): methods are not compared."]
    rivals = facts.pairs.loc[others]
    parts = {
        "above": rivals[(rivals["q"] < LEVEL) & (rivals["difference"] > 0)],
        "below": rivals[(rivals["q"] < LEVEL) & (rivals["difference"] < 0)],
        "not told apart from": rivals[rivals["q"] >= LEVEL],
        "not tested against": rivals[rivals["q"].isna()],
    }
    stands = "; ".join(f"{words} {listed(part.index)}" for words, part in parts.items() if len(part))
    return [
        f"Highest mean of {1 + len(others)} methods, as it stands on the test split: `{leader}`, {bounded(facts.mean(leader))}.",
        f"On the cells both have, `{leader}` is {stands} (told apart: q < {LEVEL:g}, Benjamini-Hochberg over all pairs).",
    ]


def _control(facts: _Facts) -> list[str]:
    controls = [name for name in facts.methods if name in CONTROLS]
    if not controls:
        return ["No control was evaluated: what a direction that learned nothing recovers is not known here."]
    learned = facts.mean(facts.leader, *facts.rivals)
    sentences = []
    for name in controls:
        pair = facts.pairs.loc[name]
        sentences.append(
            f"The control `{name}`, which learned nothing, recovers {bounded(facts.mean(name))} on the same kind of cells; the "
            f"learned methods recover {bounded(learned)}. `{facts.leader}` {_stand(pair)}."
        )
    return sentences


def _stand(pair: pd.Series) -> str:
    if np.isnan(pair["q"]):
        return f"was not tested against it ({in_words(pair['reason'])})"
    side = 1 if pair["difference"] >= 0 else -1
    bounds = sorted((side * pair["ci_low"], side * pair["ci_high"]))
    gap = f"{points(abs(pair['difference']))} [{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"
    if pair["q"] >= LEVEL:
        return f"cannot be told from it ({gap} apart, q = {small(pair['q'])})"
    return f"is {gap} {'above' if side > 0 else 'below'} it (q = {small(pair['q'])})"


def _above_chance(study: Study) -> str:
    found = mean_recovered(study, study.counted, corrected=True)
    if np.isnan(found.value):
        return f"Recovered accuracy above chance is undefined: {in_words(found.reason)}."
    verdict = ""
    if found.low <= 0 <= found.high:
        verdict = " It cannot be told from guessing."
    elif found.high < 0:
        verdict = " That is below guessing."
    gaps = len(study.counted) - found.n
    undefined = f" ({gaps} others have no corrected value)" if gaps else ""
    return (
        f"Corrected for chance (0 % is guessing, 100 % the ceiling) the learned methods recover {bounded(found)}, mean over "
        f"{found.n} cells{undefined}.{verdict}{_left_out(study)}"
    )


def _left_out(study: Study) -> str:
    """The sets that are in no corrected mean, and on which questions that was decided."""
    by_set = mean_table(study, study.counted, ["test"])
    sets = by_set.loc[by_set["corrected_reason"].isin([CEILING_NOT_CLEAR, CEILING_NOT_ABOVE_CHANCE]), "test"]
    if not len(sets):
        return ""
    return f" Left out: {listed(sets)}, whose ceiling may be chance. The questions decide that, so sets with a lucky ceiling stay in."


def _hardest_set(study: Study) -> list[str]:
    blocks = Blocks.of(study, study.counted, ["test"])
    order = [i for i in np.argsort(blocks.value, kind="stable") if np.isfinite(blocks.value[i])]
    if len(order) < 2:
        return []
    worst, following = (blocks.union(np.arange(len(blocks.value)) == i) for i in order[:2])
    names = [blocks.groups["test"].iloc[i] for i in order[:2]]
    why = worst.reason or following.reason
    p = np.nan if why else bootstrap_p(worst.drawn - following.drawn)
    told = (
        f"not tested against ({why})" if why else f"{'told' if p < LEVEL else 'not told'} apart from (p = {small(p)})"
    )
    return [
        f"Worst test set: `{names[0]}`, mean recovered {bounded(headline(worst))}, {told} the next, `{names[1]}` at "
        f"{percent(following.value)}."
    ]
