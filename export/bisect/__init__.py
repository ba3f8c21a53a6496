"""Where a bundle leaves float32 PyTorch first: `qlot bisect`."""
