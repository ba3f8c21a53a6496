"""The licence texts that travel with whatever this project writes."""

from __future__ import annotations

import importlib.metadata

from qlot.runtime.errors import QlotError
from qlot.runtime.extras import DISTRIBUTION

LEGAL = ("LICENSE", "NOTICE")  # the notices are the weights', the layouts', and the golden face's


def legal_text(name: str) -> str:
    """Return one of the `LEGAL` texts of the installed distribution.

    Raises:
        QlotError: the installation lacks it.
    """
    # A source tree may hold the metadata of its last build beside the installed one, without the licences.
    found = importlib.metadata.distributions(name=DISTRIBUTION)
    text = next(filter(None, (d.read_text(f"licenses/{name}") for d in found)), None)
    if not text:
        raise QlotError(f"the installed {DISTRIBUTION} lacks its {name}: install it again.")
    return text
