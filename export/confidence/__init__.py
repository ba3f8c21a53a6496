"""The confidence of a checkpoint and layout: made scenes, what a network says of them, and the fit."""
