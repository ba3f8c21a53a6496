"""Measurements on training material."""
