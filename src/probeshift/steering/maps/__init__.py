"""Maps from the residual stream of one model to that of another. Adding one is a file and a line in `MAPS`."""

from probeshift.errors import UsageError, nearest
from probeshift.steering.maps.identity import IDENTITY
from probeshift.steering.maps.linear import LINEAR
from probeshift.steering.maps.low_rank import LOW_RANK
from probeshift.steering.maps.method import MapMethod
from probeshift.steering.maps.mlp import MLP
from probeshift.steering.maps.padded import PADDED
from probeshift.steering.maps.procrustes import PROCRUSTES
from probeshift.steering.maps.random_orthogonal import RANDOM_ORTHOGONAL
from probeshift.steering.maps.shuffled import SHUFFLED

MAPS: tuple[MapMethod, ...] = (IDENTITY, LINEAR, PROCRUSTES, LOW_RANK, MLP, PADDED, RANDOM_ORTHOGONAL, SHUFFLED)


def find_map(name: str) -> MapMethod:
    """The map of that name.

    Raises:
        UsageError: no such map; the nearest names are offered.
    """
    for method in MAPS:
        if method.name == name.lower():
            return method
    raise UsageError(f"transfer map `{name}` not found. {nearest(name, [m.name for m in MAPS])}")


__all__ = ["MAPS", "MapMethod", "find_map"]
