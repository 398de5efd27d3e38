"""The pictures of README.md and docs/report.md, from a finished demo. Needs Chromium.

    probeshift demo && python docs/images/redraw.py output/demo

README's picture is a file of the demo itself, copied; the others are its page, photographed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
from chromium import Chromium  # noqa: E402

VIEWS = {
    "report_overview": "",
    "report_matrix": "#matrix?train=facts_cities_affirmed&test=facts_cities_negated&cell=open",
}


def redraw(demo: Path, target: Path = HERE) -> None:
    """Write all pictures into `target`."""
    (matrix,) = demo.glob("*/cross_dataset_matrix_auc.png")
    shutil.copyfile(matrix, target / "demo_matrix.png")
    with Chromium(width=1400, height=1000) as browser:
        for name, fragment in VIEWS.items():
            browser.open(demo / "report.html", fragment)
            path = browser.screenshot(target / f"{name}.png")
            Image.open(path).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    redraw(Path(sys.argv[1]))
