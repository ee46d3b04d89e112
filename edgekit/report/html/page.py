"""The frame of a report: head, style, sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def page(title: str, subtitle: str, origin: str, sections: Iterable[str]) -> str:
    """Return a whole page.

    Args:
        title: What the report is of.
        subtitle: One line below it.
        origin: How the figures came about.
        sections: HTML.
    """
    # The policy forbids the page to load anything: a report that is opened tells nobody.
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>{escape(title)} <small class="origin">{escape(origin)}</small></h1>'
        f"<p>{escape(subtitle)}</p></header>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, body: str, note: str = "") -> str:
    """Return a section; empty where its body is."""
    told = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{body}{told}</section>" if body else ""


def cards(entries: Iterable[tuple[str, str, str]]) -> str:
    """Return (title, figure, text below) as a row of cards."""
    boxes = "".join(
        f"<div><h3>{escape(title)}</h3><strong>{escape(figure)}</strong><span>{escape(text)}</span></div>"
        for title, figure, text in entries
    )
    return f'<div class="cards">{boxes}</div>'


def notices(kind: str, texts: Iterable[str]) -> str:
    """Return texts that should not be overlooked; `kind` is warning or finding."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="notices {kind}">{items}</ul>' if items else ""


def facts(entries: Mapping[str, str]) -> str:
    """Return names and texts; without those that are empty."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries.items() if text)
    return f"<dl>{rows}</dl>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column holds names; it scrolls by itself where the page is narrow.

    What follows a line break in a cell is shown small below it.
    """
    above = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr><th>{escape(row[0])}</th>" + "".join(map(_cell, row[1:])) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{above}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    figure, _, below = text.partition("\n")
    return f"<td>{escape(figure)}{f'<small>{escape(below)}</small>' if below else ''}</td>"
