"""A bundle's golden sequence on the engines' ARM kernels, under qemu-user: numerics only, no timing."""
