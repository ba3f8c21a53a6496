"""The modules of the refiner, by which tests tell what a scheme quantises."""

from __future__ import annotations

import re

HIDDEN_LINEARS = {
    *(f"encoder.branches.{i}.linear" for i in range(3)), "encoder.correlation.0", "encoder.correlation.2",
    "encoder.context_features", "mixer.write_route", "mixer.read_route", "mixer.local", "mixer.out", "hidden_linear",
}  # fmt: skip
SLOTS = {f"mixer.{n}" for n in ("value", "slot_read", "slot_qkv", "slot_mlp_in", "slot_mlp_out", "local_film")}
SOURCE_FILE = re.compile(rb"\w{4}\.py\W")  # of the tracer: no exported graph names one
