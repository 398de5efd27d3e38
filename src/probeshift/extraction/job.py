"""One extraction, prepared: its plan, where it lives, and the finished store that already answers it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeshift.activations import ActivationStore, shard_paths
from probeshift.datasets import Statement
from probeshift.extraction.plan import ExtractionOptions, Plan, make_plan
from probeshift.models import ModelInfo, folder_name
from probeshift.provenance import cache_root

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """What `prepare` found: the plan, where it lives, and the finished store if there is one."""

    label: str
    plan: Plan
    options: ExtractionOptions
    folder: Path
    finished: ActivationStore | None

    @property
    def tokens_left(self) -> int:
        """Tokens still to compute; 0 when finished. Looks at files, not at their checksums."""
        if self.finished:
            return 0
        missing = (i for i in range(len(self.plan.shards)) if not shard_paths(self.folder, i)[1].exists())
        return sum(self.plan.shard_tokens(i) for i in missing)


def prepare(
    statements: Sequence[Statement],
    info: ModelInfo,
    tokenizer: Any,
    options: ExtractionOptions,
    *,
    label: str,
    identity: dict[str, Any] | None = None,
    root: Path | None = None,
) -> Extraction:
    """Make the plan and look for a finished store that already answers it. Loads no weights.

    A finished store answers when it holds the same content at all wanted layers, in the wanted dtype. Never in another: one split
    in bfloat16 and one in float32 are not the same place.
    """
    plan = make_plan(statements, info, tokenizer, options, identity)
    home = (root or cache_root() / "activations") / folder_name(info.name)
    folder = home / f"{label}-{plan.content_id[:12]}-{plan.plan_id[:12]}"
    return Extraction(label, plan, options, folder, _find_finished(home, plan, options))


def _find_finished(home: Path, plan: Plan, options: ExtractionOptions) -> ActivationStore | None:
    for index in sorted(home.glob(f"*-{plan.content_id[:12]}-*/index.json")):
        store = ActivationStore.open(index.parent)
        same = store.plan["content_id"] == plan.content_id and set(options.layers) <= set(store.layers)
        if same and store.dtype == options.dtype:
            return store
        if same:
            log.info("%s is there in %s; --dtype %s takes it", index.parent.name, store.dtype, store.dtype)
    return None
