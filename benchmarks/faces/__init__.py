"""Landmarks beside those of the peer that a user would pick instead, on faces of people held back from training."""
