"""The page's HTML: its frame, its look, and parts into which any text may be put."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from ..inspection import printable

__all__ = ["beginning", "counted", "document", "facts", "figure", "paragraph", "section", "shown", "table"]

_LETTERS = 400  # of a text that are shown
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # Persian and Hindi words and emoji need them

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #595959; --line: #c8c8c8; --link: #005a9c }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #17191c; --soft: #a8a8a8; --line: #4a4d52; --link: #7cc0ff }
}
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper) }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .5rem } h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem }
p, figcaption, ul { max-width: 46rem } a { color: var(--link) }
.lead { font-size: 1.2rem } figcaption, caption { color: var(--soft) }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem }
figure { margin: 1rem 0 } img { max-width: 100%; height: auto; background: #fff; border-radius: 4px }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: 1rem 0; font-size: .92rem }
caption { text-align: left; padding-bottom: .3rem }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: break-word }
thead th { border-bottom: 2px solid var(--line); vertical-align: bottom; overflow-wrap: normal }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
tbody th { font-weight: 600 } .facts th { white-space: nowrap } td:last-child { overflow-wrap: anywhere }
.numbers td[dir]:last-child { min-width: 18rem }
@media print {
  :root { --ink: #000; --paper: #fff; --soft: #444; --line: #999; --link: #000 }
  body { max-width: none; padding: 0; font-size: 10pt } nav { display: none } .wide { overflow: visible }
  table { font-size: .8em } th, td { padding: .15rem .4rem }
  figure, tr { break-inside: avoid } h2, caption { break-after: avoid }
}
"""


def document(title: str, parts: Iterable[str]) -> str:
    """The whole page. It loads nothing, and a browser is told to load and run nothing."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{shown(title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            *parts,
            "</body>",
            "</html>",
            "",
        ]
    )


def shown(text: str) -> str:
    """Any text as HTML: escaped, on one line, without what could drive a terminal or turn the writing round."""
    plain = "".join(letter if letter in _JOINERS else printable(letter) for letter in text)
    return html.escape(" ".join(plain.split()))


def beginning(text: str) -> str:
    """A text, or of a long one the beginning and how long it is."""
    if not text.strip():
        return "(empty)"
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]} […] ({len(text)} letters)"


def counted(texts: int) -> str:
    """``1 text``, ``2 texts``."""
    return "1 text" if texts == 1 else f"{texts} texts"


def section(title: str, name: str, parts: Iterable[str]) -> str:
    """A section of the page under its heading, with an anchor."""
    heading = f'<h2 id="{name}">{shown(title)}</h2>'
    return "\n".join([f'<section aria-labelledby="{name}">', heading, *parts, "</section>"])


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; its class is one of the style's."""
    return f'<p class="{kind}">{shown(text)}</p>' if kind else f"<p>{shown(text)}</p>"


def figure(address: str, alternative: str, caption: str) -> str:
    """A picture, what it shows for who cannot see it, and how to read it."""
    return (
        f'<figure><img src="{address}" alt="{shown(alternative)}">\n<figcaption>{shown(caption)}</figcaption></figure>'
    )


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, words: Sequence[int] = ()) -> str:
    """A table of numbers; a row's first cell is its heading. In the columns of `words` are texts, written as such."""

    def cell(tag: str, place: int, text: str) -> str:
        kind = 'dir="auto"' if place in words else 'class="number"'
        return f"<{tag} {kind}>{shown(text)}</{tag.partition(' ')[0]}>"

    head = "".join(cell('th scope="col"', place, text) for place, text in enumerate(columns))
    body = []
    for row in rows:
        cells = (cell("td" if place else 'th scope="row"', place, text) for place, text in enumerate(row))
        body.append(f"<tr>{''.join(cells)}</tr>")
    return _table("numbers", caption, [f"<thead><tr>{head}</tr></thead>", "<tbody>", *body, "</tbody>"])


def facts(caption: str, rows: Mapping[str, str]) -> str:
    """A table of two columns: what, and its value."""
    body = []
    for name, value in rows.items():
        body.append(f'<tr><th scope="row">{shown(name)}</th><td dir="auto">{shown(value)}</td></tr>')
    return _table("facts", caption, ["<tbody>", *body, "</tbody>"])


def _table(kind: str, caption: str, content: Iterable[str]) -> str:
    opening = f'<div class="wide"><table class="{kind}"><caption>{shown(caption)}</caption>'
    return "\n".join([opening, *content, "</table></div>"])
