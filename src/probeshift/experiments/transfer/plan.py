"""What a study will cost, before the work: texts, tokens, judge calls. Loads no model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from probeshift.experiments.transfer.alignment import alignment_texts
from probeshift.experiments.transfer.scoring import labelled_texts
from probeshift.experiments.transfer.study import EVALUATION, Study
from probeshift.steering.judges import RUBRICS
from probeshift.steering.judges.estimate import CHARACTERS_PER_TOKEN


def plan(study: Study) -> dict[str, Any]:
    """Counts at most: methods that two widths forbid, and texts that two conditions share, make them smaller."""
    asked, split = study.settings, study.split
    vectors = 1 + len(asked.methods) + asked.controls.random + asked.controls.shuffled + 1 + bool(split.fit)
    each = len(split.evaluated)
    selection = vectors * each * len(asked.strengths) * len(split.selection) + len(split.selection)
    test = vectors * each * len(split.test) * (2 if asked.kl_target else 1) + (1 + each) * len(split.test)
    texts = selection + test if asked.generation else 0
    scored = texts + (each - 1) * (len(split.selection) + len(split.test)) if texts else 0
    return {
        "concepts": {"evaluated": list(split.evaluated), "fit": list(split.fit)},
        "vector_rows": len(study.data.of("vector")), "detection_rows": len(study.data.of("detection", split.evaluated)),
        "alignment_texts": len(alignment_texts(study)), "conditions": vectors + 2, "texts_at_most": texts,
        "tokens_at_most": texts * asked.generation.max_new_tokens if asked.generation else 0,
        "texts_kept": kept_texts(study), "judge": judging(study, scored), "output_dir": str(asked.output_dir),
    }  # fmt: skip


def judging(study: Study, n_texts: int) -> dict[str, Any] | None:
    """What a judge will be asked about so many texts and about its own quality, at most; None where nobody judges.

    `ratings` takes one call each, a second one where a reply holds no rating. `lacks_key` names the variable that an endpoint
    needs and the environment does not have.
    """
    from probeshift.steering.judges import NO_COST, estimate_ahead, open_judge, quality_questions
    from probeshift.steering.judges.endpoint import EndpointJudge

    asked = study.settings
    if not n_texts or asked.judge.backend == "none":
        return None
    assert asked.generation is not None
    about_itself = quality_questions(labelled_texts(study), seed=asked.seed)
    if asked.judge.backend == "hf" and asked.judge.model:  # opening it would load it; without a name that is refused
        ratings = len(RUBRICS) * n_texts + len(about_itself)
        return {"ratings": ratings, "told": f"at most {ratings:,} ratings; {NO_COST}", "lacks_key": None}
    judge = open_judge(asked.judge)
    assert isinstance(judge, EndpointJudge)
    characters = round(CHARACTERS_PER_TOKEN * asked.generation.max_new_tokens)
    found = estimate_ahead(
        judge, n_texts, further=about_itself, text_characters=characters, prices=asked.judge.price_table
    )
    return {**asdict(found), "told": found.sentence, "lacks_key": judge.key_variable if judge.lacks_key else None}


def kept_texts(study: Study) -> int:
    """Texts of earlier runs in the folder."""
    return sum(
        len(path.read_bytes().splitlines()) for path in (study.folder(EVALUATION) / "generations").glob("*.jsonl")
    )
