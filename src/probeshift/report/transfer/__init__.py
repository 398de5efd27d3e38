"""Pages of a transfer study, drawn from its saved tables."""
