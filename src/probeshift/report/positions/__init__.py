"""The pages of a layer x position grid, drawn from saved rows alone."""
