"""Rendered faces with exact landmarks: the mesh, its motion, its looks, and a cache of clips for training."""
