"""What measures: one driver for each kind of device, all by one protocol into one form of result."""
