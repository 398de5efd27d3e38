"""Pages and figures, drawn from saved tables alone: nothing here runs a model, fits a probe or measures anything."""
