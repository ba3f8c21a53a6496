"""The frames that a scheme is calibrated on, and what reaches each stage on them."""
