"""The confidence that a checkpoint's metadata states, and the one to use where none is known."""

from __future__ import annotations

import json
from collections.abc import Mapping

from qlot.runtime.bundle.manifest import ConfidenceSpec
from qlot.runtime.errors import QlotError

KEY = "confidence"  # of a checkpoint's metadata: JSON, layout name -> ConfidenceSpec
# Every crop that can be a face counts as one: confidence is 0.5 whatever the network says.
ANY_FACE = ConfidenceSpec(bias=0.0, w_spread=0.0, found=0.5, lost=0.5, calibration="none: every plausible crop counts")


def stated_confidence(metadata: Mapping[str, str], layout: str) -> ConfidenceSpec | None:
    """Read the constants that a checkpoint's metadata states for a layout, if it does.

    Raises:
        QlotError: the metadata is unusable.
    """
    try:
        spec = json.loads(metadata.get(KEY, "{}")).get(layout)
        return None if spec is None else ConfidenceSpec.model_validate(spec)
    except (ValueError, AttributeError) as e:
        raise QlotError(f"the checkpoint's metadata has an unusable {KEY!r}: {e}. Save it again.") from e
