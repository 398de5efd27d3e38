"""One self-contained `report.html` over saved runs: their rows packed, a prebuilt front end inlined, nothing fetched."""

from probeshift.report.html.page import build_page, write_report

__all__ = ["build_page", "write_report"]
