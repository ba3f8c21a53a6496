"""What a frame and an iteration cost, measured."""
