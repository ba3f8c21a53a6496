"""The report as one page of HTML that refers to nothing outside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qlot.benchmarks.report.charts import charts
from qlot.benchmarks.report.facts import rows
from qlot.benchmarks.report.quality import Quality
from qlot.benchmarks.report.tables import runs, sections
from qlot.benchmarks.results.errors import ResultError
from qlot.benchmarks.results.model import RunResult
from qlot.runtime.html import document, element, table

TEXTS = {"what", "device", "engine", "this", "over that", "part", "stage, graph alone", "verdict", ""}  # no numbers


def page(results: Sequence[RunResult], quality: Mapping[str, Quality], refused: Sequence[ResultError]) -> str:
    """Return the page.

    Args:
        results: those that count.
        quality: by the hash of the bundle's manifest.
        refused: files that were left out, and why; the page says so.
    """
    devices = sorted({r.environment.device for r in results})
    content = [
        element("h1", "qlot bench"),
        element("p", f"runs: {len(results)}; devices: {'; '.join(devices)}", class_="dim"),
    ]
    if refused:
        content.append(element("p", f"{len(refused)} files were left out:", class_="verdict bad"))
        content.append(element("ul", *(element("li", str(e)) for e in refused)))
    for caption, drawing in charts(rows(results), results, quality):
        content.append(element("figure", drawing, element("figcaption", caption)))
    for title, (head, lines) in sections(results, quality):
        texts = next((i for i, name in enumerate(head) if name not in TEXTS), len(head))
        content += [element("h2", title), table(head, lines, texts)]
    content += [element("h2", "Runs"), element("ul", *(element("li", line) for line in runs(results)))]
    return document("qlot bench", *content)
