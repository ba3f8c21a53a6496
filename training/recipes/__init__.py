"""Training recipes: one TOML file per run that ships."""
