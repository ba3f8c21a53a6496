"""The tracker: search, crop, confidence, filters."""
