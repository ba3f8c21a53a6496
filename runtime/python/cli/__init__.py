"""The commands on bundles."""
