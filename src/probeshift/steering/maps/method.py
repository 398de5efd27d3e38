"""What every kind of map has in common: a name, a source, and a solver from evidence to a weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from probeshift.errors import UsageError
from probeshift.steering.maps.evidence import Evidence
from probeshift.steering.maps.transfer_map import Residual


@dataclass(frozen=True)
class Solved:
    """A weight [d_source, d_target] in float64; `choices` is what was chosen on held-out text."""

    weight: Tensor
    choices: Mapping[str, Any] = field(default_factory=dict)
    residual: Residual | None = None


@dataclass(frozen=True)
class MapMethod:
    """One way to map one residual stream to another. Its file says what it assumes.

    `control` marks maps that are there to be beaten; `needs_sample` those that need pairs in memory besides the sums.
    """

    name: str
    source: str
    solve: Callable[[Evidence, int], Solved]
    control: bool = False
    needs_sample: bool = False


def require_equal_widths(evidence: Evidence) -> None:
    """Refuse two widths.

    Raises:
        UsageError: the identity does not exist between them.
    """
    d_source, d_target = evidence.shape
    if d_source != d_target:
        raise UsageError(
            f"identity needs equal widths, the models have {d_source} and {d_target}. Use --method linear, or `padded` to have "
            "a control that cuts or fills with zeros. (Equal widths are not equal axes: across models identity is a control too.)"
        )
