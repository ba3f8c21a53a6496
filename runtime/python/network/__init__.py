"""A bundle's graphs in an engine, and the recurrence over them."""
