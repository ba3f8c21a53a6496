from __future__ import annotations

import json

import pytest

from qlot.runtime.bundle.stated_confidence import ANY_FACE, stated_confidence
from qlot.runtime.errors import QlotError


def test_a_layouts_own_constants_are_read_and_those_of_no_other() -> None:
    metadata = {"confidence": json.dumps({"ibug68": ANY_FACE.model_dump()})}
    assert stated_confidence(metadata, "ibug68") == ANY_FACE
    assert stated_confidence(metadata, "wflw98") is None and stated_confidence({}, "ibug68") is None


@pytest.mark.parametrize("text", ["[]", "{", '{"ibug68": {"bias": 1}}', '{"ibug68": 3}'])
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(QlotError, match=r"(?s)unusable 'confidence'.*Save it again"):
        stated_confidence({"confidence": text}, "ibug68")
