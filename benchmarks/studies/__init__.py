"""Studies of the export: staged bundles beside the single graph."""
