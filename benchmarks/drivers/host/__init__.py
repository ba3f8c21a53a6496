"""The driver for this machine: bundles, and what they are compared with, by the Python runtime."""
