"""Other landmark networks, run as their makers ship them, in environments of their own."""
