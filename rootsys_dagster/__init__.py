"""Interface files become Dagster assets whose records, dead letters and positions are committed in one step."""
