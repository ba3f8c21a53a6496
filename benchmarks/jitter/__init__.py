"""Jitter against lag: trackers and filters on rendered faces whose motion is known exactly."""
