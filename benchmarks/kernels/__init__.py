"""A bundle's golden sequence on the kernels of every kind of processor, emulated where this machine lacks them."""
