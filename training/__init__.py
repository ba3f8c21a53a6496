"""Training and evaluation: clips, synthetic motion and faces, losses, the loop, and what is measured of its results."""
