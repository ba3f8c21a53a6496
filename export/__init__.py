"""From a checkpoint to a verified bundle: stages, targets, schemes, calibration, parity."""
