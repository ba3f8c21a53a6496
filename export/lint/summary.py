"""The end of an export: what lint predicts, in three lines at most. It never fails an export."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from qlot.runtime.bundle.folder import Bundle


def print_summary(console: Console, bundle: Bundle) -> None:
    """Print counts by severity, the worst finding, and where to read on; or one line that says why not."""
    try:
        from qlot.export.lint.run import lint
        from qlot.export.lint.show import counted

        report = lint(bundle, sums=False)
        lines = [f"lint, {counted(report)}"]
        if report.findings:
            worst = report.findings[0]
            lines.append(f"  {worst.severity.word} {worst.rule}, {worst.stage}: {worst.text}")
        lines.append(f"  not run on any device; `qlot lint {bundle.path}` says more")
    except Exception as e:  # the bundle is written and verified: whatever goes wrong here must not cost it
        lines = [f"lint: nothing predicted: {e}"]
    for line in lines:
        console.print(Text(line, style="dim"), soft_wrap=True)
