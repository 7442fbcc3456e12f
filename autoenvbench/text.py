"""Text that others wrote (agents, policies, models, submitters), made safe for the place where it lands.

Names, arguments and error messages of a run are chosen by whoever made it. A terminal obeys escape sequences in them, a
browser their tags, a spreadsheet their formulas, and a Markdown page their links and table bars; right-to-left marks make a
line read differently from what it says. Each function here takes such text and returns what shows it and does nothing else.
"""

from __future__ import annotations

import html
import re
import unicodedata

#: Unicode categories that draw nothing and can change how the rest reads: control characters (with ESC), format characters
#: (right-to-left overrides, zero-width ones, tags), lone surrogates, private use, line and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#+!|~$]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_COMBINING = re.compile(r"([\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")  # fmt: skip


def visible(text: str, *, lines: bool = False) -> str:
    """For a terminal, and the first step for every other place: what cannot be seen is written out, as in "\\x1b".

    `lines`: keep line breaks and tabs (for text of several lines); otherwise they are written out as well.
    """
    if text.isascii() and text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    shown = "".join(c if c in kept or unicodedata.category(c) not in _UNSEEN else _written_out(c) for c in text)
    return _COMBINING.sub(r"\1", shown)  # accents piled so high that they cover other lines


def short(text: str, length: int = 120) -> str:
    """One line of at most `length` characters."""
    line = visible(text)
    return line if len(line) <= length else line[: length - 1] + "…"


def markdown(text: str, length: int = 300) -> str:
    """For a Markdown page or table cell: one line without markup, links, mentions, tags or column breaks."""
    line = short(text, length).replace("&", "&amp;")
    escaped = _MARKDOWN.sub(lambda m: {"<": "&lt;", ">": "&gt;"}.get(m[0], "\\" + m[0]), line)
    # GitHub makes links of bare addresses and mentions of @names; an entity keeps them text.
    escaped = escaped.replace("://", "&#58;//").replace("@", "&#64;")
    return re.sub(r"www\.", lambda m: m[0][:-1] + "&#46;", escaped, flags=re.IGNORECASE)


def html_text(text: str, *, lines: bool = False) -> str:
    """For an HTML page, as an element's text or inside a quoted attribute."""
    return html.escape(visible(text, lines=lines), quote=True)


def figure_text(text: str, length: int = 48) -> str:
    """For a figure that matplotlib draws: one line, in which a dollar sign begins no formula."""
    return short(text, length).replace("$", r"\$")


def csv_cell(value: object) -> object:
    """For a cell of a CSV file that somebody opens in a spreadsheet: text that would be a formula gets a leading quote.

    Numbers stay numbers; None becomes an empty cell.
    """
    if not isinstance(value, str):
        return "" if value is None else value
    text = visible(value)
    return "'" + text if text.lstrip().startswith(_FORMULA) or value.startswith(_FORMULA) else text


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
