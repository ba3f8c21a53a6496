"""Elements of an HTML page. The tree does the escaping, so no text of a manifest or a result can become markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--ink:#1a1c1f;--dim:#62676f;--line:#dcdfe4;--soft:#f4f5f7;--a:#0b63c5;
--b:#b45309;--c:#a3195b;--good:#1a7f37;--bad:#c1121f}
@media(prefers-color-scheme:dark){:root{--bg:#14161a;--ink:#e6e8eb;--dim:#9aa1ab;--line:#33383f;--soft:#1d2025;
--a:#6cb0ff;--b:#f0a04b;--c:#ff7ab8;--good:#57c774;--bad:#ff6b6b}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:60rem;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,sans-serif;overflow-wrap:break-word}
h1{font-size:1.35rem;line-height:1.25;margin:.2rem 0}h2{font-size:1.1rem;margin:2rem 0 .4rem;padding-top:.6rem;
border-top:1px solid var(--line)}h3{font-size:.95rem;margin:1.1rem 0 .2rem}p{margin:.35rem 0}
.dim,figcaption{color:var(--dim);font-size:.88rem}.verdict{font-weight:700}.good{color:var(--good)}.bad{color:var(--bad)}
.wide{overflow-x:auto;margin:.4rem 0}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.22rem .8rem .22rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{color:var(--dim);font-weight:600;white-space:nowrap}.num{text-align:right;white-space:nowrap}
figure{margin:.6rem 0}svg{display:block;width:100%;height:auto;background:var(--soft);border-radius:6px}
svg text{fill:var(--dim);font:11px system-ui,sans-serif}.grid{stroke:var(--line);stroke-width:1}
.curve{fill:none;stroke-width:1.6;stroke-linejoin:round}.limit{stroke:var(--bad);stroke-width:1.2;stroke-dasharray:5 4}
.s0{stroke:var(--a)}.s1{stroke:var(--b)}.s2{stroke:var(--c)}svg .t0{fill:var(--a)}svg .t1{fill:var(--b)}
svg .t2{fill:var(--c)}.edge{stroke:var(--line);stroke-width:1.5}
svg .tl{fill:var(--bad);stroke:var(--soft);stroke-width:4px;paint-order:stroke}
.dot{fill:var(--a);stroke:var(--dim);stroke-width:.7}.face{max-width:30rem}
@media(max-width:34rem){body{padding:.7rem}table{font-size:.8rem}th,td{padding-right:.5rem}svg text{font-size:17px}}
"""


def element(tag: str, *children: Element | str, **attributes: str | float) -> Element:
    """Return an element; `class_` is its class, an underscore inside an attribute's name a hyphen."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): _text(value) for name, value in attributes.items()})
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def table(head: Sequence[str], rows: Iterable[Sequence[Element | str]], text_columns: int = 1) -> Element:
    """Return a table that scrolls sideways where it is too wide; columns after the first ones are numbers."""

    def cell(tag: str, i: int, content: Element | str) -> Element:
        return element(tag, content, **({"class_": "num"} if i >= text_columns else {}))

    header = element("tr", *(cell("th", i, name) for i, name in enumerate(head)))
    body = [element("tr", *(cell("td", i, x) for i, x in enumerate(row))) for row in rows]
    return element("div", element("table", element("thead", header), element("tbody", *body)), class_="wide")


def verdict(passed: bool) -> Element:
    """Return a verdict in words; the colour only repeats it."""
    return element("span", "passed" if passed else "FAILED", class_=f"verdict {'good' if passed else 'bad'}")


def document(title: str, *content: Element) -> str:
    """Return a whole page that refers to nothing outside itself."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", STYLE),
    )
    page = element("html", head, element("body", *content), lang="en")
    return f"<!doctype html>\n{ElementTree.tostring(page, encoding='unicode', method='html')}\n"


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
