"""The training loop and all it consists of."""
