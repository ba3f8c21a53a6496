"""A bundle beside float32 PyTorch: stages alone, the free run, the task."""
