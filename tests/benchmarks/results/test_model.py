"""The schema: the file is the classes', and what contradicts itself is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from qlot.benchmarks.results.model import RunResult, json_schema
from tests.benchmarks.made import data, result, subject

SCHEMA = json.loads(resources.files("qlot.runtime.contract").joinpath("bench_result.schema.json").read_text("utf-8"))


def test_the_schema_file_is_the_classes() -> None:
    assert json_schema() == SCHEMA


def test_a_result_follows_the_schema() -> None:
    jsonschema.validate(json.loads(result().model_dump_json()), SCHEMA)


def _change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        *way, last = [int(x) if x.isdigit() else x for x in path.split("/")]
        part: Any = found
        for key in way:
            part = part[key]
        part[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_change("subjects/0/replay", None), "timed without a passing replay"),
        (_change("subjects/0/replay/max_px", 0.06), "timed without a passing replay"),
        (_change("valid", False), "valid, or it gives reasons"),
        (_change("reasons", ["loud"]), "valid, or it gives reasons"),
        (_change("run/quick", True), "a quick run is not valid"),
        (_change("run/rounds", 5), "6 rounds of frame, the run has 5"),
        (_change("subjects/0/bundle", None), "a bundle, and nothing else"),
        (_change("subjects/0/kind", "peer"), "a bundle, and nothing else"),
        (_change("subjects/0/energy/status", "measured"), "energy is measured, with a value"),
        (_change("subjects/0/energy/joules_a_frame", 0.1), "energy is measured, with a value"),
        (_change("subjects/0/series/0/rounds", []), "without samples"),
        (_change("subjects/0/series/0/rounds/0", []), "without samples"),
        (_change("subjects/0/series/0/medians", [1.0]), "rounds, or medians"),
        (_change("subjects/0/series/1/iterations", 1), "a series is there twice"),
        (_change("run/settings/0/subject", 1), "a setting is of no subject"),
        (_change("environment/device_class", "toaster"), "device_class"),
        (_change("environment/cold", True), "extra_forbidden"),
        (_change("subjects/0/series/0/rounds/0/0", -1.0), "greater than or equal to 0"),
    ],
)
def test_what_contradicts_itself_is_refused(change: Callable[[dict[str, Any]], None], said: str) -> None:
    found = data()
    change(found)
    with pytest.raises(ValidationError) as error:
        RunResult.model_validate(found)
    assert said in str(error.value)


def test_two_subjects_have_two_names() -> None:
    with pytest.raises(ValidationError, match="two subjects have one name"):
        RunResult.model_validate(data(subject(), subject()))
