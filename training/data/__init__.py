"""Material: clips, their sources, rendered faces, and what becomes of them on the way into the network."""
