"""What is converted: the stages as PyTorch modules, and what a scheme does to them. Imports no target."""
