"""What others wrote does nothing but show, wherever it lands."""

import csv
import html.parser
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoenvbench import text

ANY = st.text(st.characters(), max_size=60)
HOSTILE = [
    "\x1b]0;owned\x07\x1b[2J", "\x9b31mred", "a\rb", "abc\u202eevil", "zero\u200bwidth", "line\u2028break", "\U000e0041tag",
    "<script>alert(1)</script>", "[x](javascript:alert(1))", "![](http://x/y.png)", "a | b", "`code`", "http://evil.example",
    "@everyone", "www.evil.example", "=HYPERLINK(1)", " +1+1", "@SUM(1)", "\t=1", "-2+3", "\ud800", "&lt;b&gt;", "| --- |\n# head",
]  # fmt: skip
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f\ud800-\udfff]"
)


@pytest.mark.parametrize("given_text", HOSTILE)
def test_no_place_obeys_what_it_shows(given_text):
    for place in (text.visible, text.short, text.markdown, text.html_text):
        assert not UNSEEN.search(place(given_text)), place
    shown = text.markdown(given_text)
    for mark in ("<", ">", "://", "@", "www."):
        assert mark not in shown
    assert not re.search(r"(?<!\\)(\\\\)*[|`\[\]*_!]", shown)
    page = text.html_text(given_text)
    assert "<" not in page
    assert '"' not in page
    cell = str(text.csv_cell(given_text))
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))


@given(ANY)
def test_html_shows_exactly_what_a_terminal_shows(given_text):
    class Reader(html.parser.HTMLParser):
        seen, tags = "", 0

        def handle_data(self, data):
            self.seen += data

        def handle_starttag(self, tag, attrs):
            self.tags += 1

    reader = Reader(convert_charrefs=True)
    reader.feed(f"<p>{text.html_text(given_text)}</p>")
    reader.close()
    assert reader.tags == 1
    assert reader.seen == text.visible(given_text)


@given(ANY)
def test_a_row_of_csv_stays_one_row_and_starts_no_formula(given_text):
    out = io.StringIO()
    csv.writer(out).writerow([text.csv_cell(given_text), text.csv_cell(3), text.csv_cell(None)])
    ((cell, number, nothing),) = csv.reader(io.StringIO(out.getvalue()))
    assert (number, nothing) == ("3", "")
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))


def test_plain_text_is_left_alone():
    said = "Codex (GPT-5.5 xhigh), 84.2 % of 200; naïve, 日本語, é"
    assert text.visible(said) == text.html_text(said) == text.csv_cell(said) == text.markdown(said) == said
    assert text.visible("one\ntwo\tthree", lines=True) == "one\ntwo\tthree"
    assert text.visible("one\ntwo") == "one\\x0atwo"
    assert text.csv_cell(-3.5) == -3.5
    assert len(text.short("x" * 500)) == 120


def test_accents_do_not_cover_other_lines():
    assert len(text.visible("a" + "\u0301" * 500)) == 5
