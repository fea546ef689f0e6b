"""The page says what its Markdown says, and needs nothing but itself."""

import base64
import html.parser
import io
import os
import re

import numpy as np
import pytest
from etils import epath
from helpers import made_results
from helpers.made_results import scores
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.reporting import html as page
from gcad_jax.reporting.plots import style
from gcad_jax.reporting.report import Figure, write_report

VOID = ("meta", "img", "br", "hr", "link", "input")


class Read(html.parser.HTMLParser):
    """Tables, headings, images and whatever an element refers to; checks nesting."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.headings, self.images, self.references = [], [], [], []
        self.captions, self.elements, self.open, self.ids = [], [], [], []
        self.feed(text)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.elements.append((tag, given))
        self.ids += [given["id"]] if "id" in given else []
        self.references += [given[a] for a in ("href", "src", "srcset") if a in given]
        if tag == "img":
            self.images.append(given)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "figcaption":
            self.captions.append("")
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data
        if "figcaption" in self.open:
            self.captions[-1] += data
        if self.open[-1:] and self.open[-1] in ("h1", "h2", "h3"):
            self.headings[-1] += data


def markdown_tables(text):
    blocks = re.findall(r"(?:^\|.*\n?)+", text, re.M)
    cells = [
        [[c.strip() for c in line.strip("|\n").split("|")] for line in b.splitlines()]
        for b in blocks
    ]
    return [[table[0], *table[2:]] for table in cells]


def picture(path, side, photo):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels if photo else pixels // 255).save(path, dpi=(200, 200))


@pytest.fixture
def written(tmp_path):
    """A report of two categories with a small and a large picture, and its page."""
    results = [
        made_results.result(name, [scores(0.2, 0.4), scores(0.3, None)])
        for name in ("pushpins", "screw <b> & so")
    ]
    (tmp_path / "of it").mkdir()
    picture(tmp_path / "of it/small.png", 40, photo=False)
    picture(tmp_path / "of it/large.png", 300, photo=True)
    figures = [
        Figure("small: the best ones, A_loc", "of it/small.png", 'best "ones"', "one"),
        Figure("large", "of it/large.png", about="two"),
    ]
    told = ["E_loc <script>alert(1)</script>"]
    path = epath.Path(tmp_path / "report.md")
    write_report(path, "GCAD", told, results, figures)
    page.write_page(path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    return path, text, Read(text)


def test_tables_and_headings_are_those_of_the_report(written):
    path, _, found = written
    report = path.read_text()
    assert found.tables == markdown_tables(report)
    assert len(found.tables) > 4
    told = re.findall(r"^#+ (.*)$", report, re.M)
    assert found.headings == told
    assert {"one", "two"} <= set(told), "figures stand below their category"


def test_nothing_is_fetched_and_nothing_runs(written):
    _, text, found = written
    assert all(r.startswith(("data:", "#")) for r in found.references)
    assert not re.search(r"url\(|@import|https?://|<script|\son\w+=", text)
    assert "default-src 'none'" in text


def test_pictures_are_inside_and_whole(written):
    path, _, read = written
    assert [image["alt"] for image in read.images] == ['best "ones"', "large"]
    sizes = []
    for image, name in zip(read.images, ("small", "large"), strict=True):
        found = re.fullmatch("data:image/(png|webp);base64,(.*)", image["src"])
        kind, coded = found.groups()
        data = base64.b64decode(coded, validate=True)
        with Image.open(io.BytesIO(data)) as shown:
            assert shown.format.lower() == kind
            pixels = np.asarray(shown.convert("RGB")).astype(int)
        with Image.open(path.parent / f"of it/{name}.png") as original:
            wanted = np.asarray(original).astype(int)
        assert pixels.shape == wanted.shape
        assert np.abs(pixels - wanted).mean() < (1 if kind == "png" else 60)
        sizes.append((kind, len(data), int(image["width"])))
    (small, _, narrow), (large, size, wide) = sizes
    assert (small, large) == ("png", "webp")
    assert size < (path.parent / "of it/large.png").stat().length / 1.5
    assert wide == pytest.approx(narrow * 300 / 40, rel=0.05), "by their inches"


def test_captions_stand_below_their_pictures(written):
    _, _, found = written
    assert found.captions == ["small: the best ones, A_loc", "large"]


def test_sections_can_be_reached_by_link_and_by_keyboard(written):
    _, _, found = written
    assert len(set(found.ids)) == len(found.ids)
    links = [r[1:] for r in found.references if r.startswith("#")]
    assert set(links) <= set(found.ids)
    boxes = [given for tag, given in found.elements if given.get("class") == "table"]
    assert len(boxes) == len(found.tables)
    for box in boxes:
        assert box["tabindex"] == "0"
        assert box["aria-labelledby"] in found.ids
    scopes = [given.get("scope") for tag, given in found.elements if tag == "th"]
    assert set(scopes) == {"col"}


def test_a_page_is_written_anew_only_for_another_text_or_picture(written):
    path, _, _ = written
    html_file = page.page_path(path)
    before = os.stat(html_file).st_mtime_ns
    page.write_page(path)
    assert os.stat(html_file).st_mtime_ns == before, "it is kept"
    path.write_text(path.read_text() + "\nMore.\n")
    page.write_page(path)
    assert "More." in html_file.read_text()
    html_file.unlink()
    page.write_page(path)
    whole = html_file.read_text()
    assert "More." in whole
    picture(path.parent / "of it/small.png", 9, photo=True)
    page.write_page(path)
    assert html_file.read_text() != whole, "a figure was drawn anew"


def test_pictures_that_are_gone_or_damaged(tmp_path):
    folder = epath.Path(tmp_path)
    assert "not there any more" in page.render_page("![Maps](a.png)", folder)
    picture(tmp_path / "part.png", 8, photo=True)
    text = page.render_page("![Maps](a.png)", folder, {"a.png": folder / "part.png"})
    assert "base64" in text
    (tmp_path / "a.png").write_bytes(b"\x89PNG of nothing")
    with pytest.raises(UserError, match=r"a.png is not a picture that can be read"):
        page.render_page("![Maps](a.png)", folder)


def test_a_wide_figure_scrolls_on_a_phone_and_a_narrow_one_fits(tmp_path):
    folder = epath.Path(tmp_path)
    for inches, wide in ((style.COLUMN, False), (style.PAGE, True)):
        style.save_figure(style.new_figure(inches, 1), {"png": folder / "a.png"})
        text = page.render_page("![Maps](a.png)", folder)
        assert ('class="picture wide"' in text) == wide
