"""Frames from files and cameras, and what is written about them."""
