"""What a study will cost, before the work: texts, tokens, judge calls. Loads no model."""

from __future__ import annotations

from typing import Any

from probeshift.experiments.transfer.maps import alignment_texts
from probeshift.experiments.transfer.study import EVALUATION, Study


def plan(study: Study) -> dict[str, Any]:
    """Counts at most: methods that two widths forbid, and texts that two conditions share, make them smaller."""
    asked, split = study.settings, study.split
    vectors = 1 + len(asked.methods) + asked.controls.random + asked.controls.shuffled + 1 + bool(split.fit)
    each = len(split.evaluated)
    selection = vectors * each * len(asked.strengths) * len(split.selection) + len(split.selection)
    test = vectors * each * len(split.test) * (2 if asked.kl_target else 1) + (1 + each) * len(split.test)
    texts = selection + test if asked.generation else 0
    scored = texts + (each - 1) * (len(split.selection) + len(split.test)) if texts else 0
    judged = 3 * scored if asked.judge.backend != "none" else 0
    return {
        "concepts": {"evaluated": list(split.evaluated), "fit": list(split.fit)},
        "vector_rows": len(study.data.of("vector")), "detection_rows": len(study.data.of("detection", split.evaluated)),
        "alignment_texts": len(alignment_texts(study)), "conditions": vectors + 2, "texts_at_most": texts,
        "tokens_at_most": texts * asked.generation.max_new_tokens if asked.generation else 0,
        "texts_kept": kept_texts(study), "judge_calls_at_most": judged, "output_dir": str(asked.output_dir),
    }  # fmt: skip


def kept_texts(study: Study) -> int:
    """Texts of earlier runs in the folder."""
    return sum(
        len(path.read_bytes().splitlines()) for path in (study.folder(EVALUATION) / "generations").glob("*.jsonl")
    )
