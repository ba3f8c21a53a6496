"""What can be exported: `qlot targets`. Needs no PyTorch."""
