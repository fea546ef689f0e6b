"""A report as one page for a browser: the Markdown and its figures in one file.

The Markdown is the one source: what the page says, tables and all, is rendered from it.
Styles and pictures are inside, and there are no scripts, so that the page opens without
a network and wherever it is copied to.
"""

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from etils import epath

from gcad_jax.core.atomic_files import write_text
from gcad_jax.core.errors import UserError, one_line
from gcad_jax.core.paths import as_path, as_readable
from gcad_jax.core.version import __version__
from gcad_jax.reporting.plots.style import COLUMN, DPI

if TYPE_CHECKING:
    from markdown_it.token import Token

SMALL = 150_000  # bytes of a PNG that is taken as it is
QUALITY = 85  # of WebP, which the others become
_STYLE = epath.Path(__file__).with_name("html.css")
_PIXELS_AN_INCH = 134  # in the page: a figure that fills a page of paper fills it too
# A browser then refuses whatever else might ever get into the page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page_path(markdown: epath.Path) -> epath.Path:
    """The page of a report: report.html beside report.md."""
    return as_path(markdown).with_suffix(".html")


def write_page(markdown: epath.Path) -> None:
    """Writes the page of a report beside it, with the pictures that it links to.

    A page that is already of this text and these pictures stays as it is.

    Raises:
      UserError: a picture that is damaged, or a page that cannot be written.
    """
    page = page_path(markdown)
    text = render_page(markdown.read_text(encoding="utf-8"), markdown.parent)
    if not page.exists() or page.read_bytes() != text.encode():
        write_text(page, text)


def render_page(
    text: str, folder: epath.Path, elsewhere: Mapping[str, epath.Path] | None = None
) -> str:
    """The HTML of a report.

    text: Markdown. folder: its links are relative to it. elsewhere: where a picture
    lies meanwhile, by the path in its link.

    Raises UserError for a picture that is damaged.
    """
    from markdown_it import MarkdownIt

    def image(tokens: Sequence["Token"], k: int, *_: Any) -> str:
        source = unquote(str(tokens[k].attrs["src"]))
        path = (elsewhere or {}).get(source, folder / source)
        return _embed_picture(path, html.escape(tokens[k].content, quote=True))

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = _wrap_figures(parser.parse(text))
    headings = _number_headings(tokens)
    parser.renderer.rules |= {  # type: ignore[attr-defined]
        "heading_close": _heading_close,
        "table_open": _table_open,
        "table_close": lambda *_: "</table></div>\n",
        "image": image,
    }
    body = parser.renderer.render(tokens, parser.options, {})
    title = headings[0][1] if headings else "Report"
    end = body.find("</h1>") + len("</h1>") if "</h1>" in body else 0
    return _PAGE.format(
        title=html.escape(title),
        policy=_POLICY,
        style=_STYLE.read_text(),
        head=body[:end],
        contents=_table_of_contents(headings),
        body=body[end:],
        version=__version__,
    )


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{head}
{contents}{body}</main>
<footer>Written by gcad_jax {version}.</footer>
</body>
</html>
"""


def _wrap_figures(tokens: Sequence["Token"]) -> list["Token"]:
    """Paragraphs of a picture become figures, emphasized ones after them captions."""
    from markdown_it.token import Token

    result: list[Token] = []
    k = 0
    while k < len(tokens):
        if _paragraph_types(tokens, k) != ["image"]:
            result.append(tokens[k])
            k += 1
            continue
        result += [Token("figure_open", "figure", 1, block=True), tokens[k + 1]]
        k += 3
        types = _paragraph_types(tokens, k)
        if types[:1] + types[-1:] == ["em_open", "em_close"] and (
            types.count("em_open") == 1
        ):
            caption = tokens[k + 1]
            caption.children = (caption.children or [])[1:-1]
            result.append(Token("figcaption_open", "figcaption", 1, block=True))
            result += [caption, Token("figcaption_close", "figcaption", -1, block=True)]
            k += 3
        result.append(Token("figure_close", "figure", -1, block=True))
    return result


def _paragraph_types(tokens: Sequence["Token"], k: int) -> list[str]:
    """Types of what the paragraph at k consists of; none where none begins there."""
    if k == len(tokens) or tokens[k].type != "paragraph_open":
        return []
    return [child.type for child in tokens[k + 1].children or []]


def _number_headings(tokens: Sequence["Token"]) -> list[tuple[int, str, str]]:
    """Level, text and id of each heading; gives the headings and tables their ids."""
    headings: list[tuple[int, str, str]] = []
    for k, token in enumerate(tokens):
        if token.type == "heading_open":
            text = tokens[k + 1].content
            name = re.sub(r"\W+", "-", text.lower()).strip("-") or "section"
            taken = [other for _, _, other in headings]
            number = sum(re.sub(r"~\d+$", "", other) == name for other in taken)
            name += f"~{number + 1}" if number else ""
            headings.append((int(token.tag[1]), text, name))
            token.attrSet("id", name)
            tokens[k + 2].meta["id"] = name
        elif token.type == "table_open" and headings:
            token.meta["id"] = headings[-1][2]
        elif token.type == "th_open":
            token.attrSet("scope", "col")
    return headings


def _heading_close(tokens: Sequence["Token"], k: int, *_: Any) -> str:
    link = (
        f'<a class="anchor" href="#{tokens[k].meta["id"]}" '
        'aria-label="Link to this section">#</a>'
    )
    return ("" if tokens[k].tag == "h1" else link) + f"</{tokens[k].tag}>\n"


def _table_open(tokens: Sequence["Token"], k: int, *_: Any) -> str:
    """A box that scrolls, which a keyboard reaches, around a table that may be wide."""
    name = tokens[k].meta.get("id")
    label = f'aria-labelledby="{name}"' if name else 'aria-label="Table"'
    return f'<div class="table" role="region" tabindex="0" {label}><table>\n'


def _embed_picture(path: epath.Path, alt: str) -> str:
    """The element of a picture; alt: what it says to those who do not see it.

    Raises UserError where it is damaged.
    """
    from PIL import Image

    if not path.exists():
        return f"<em>{alt} (the picture is not there any more)</em>"
    try:
        data = path.read_bytes()
        with Image.open(as_readable(path)) as image:
            size = image.width, image.height
            inches = size[0] / float(image.info.get("dpi", (DPI,))[0])
            kind = "png"
            if len(data) > SMALL:
                smaller = io.BytesIO()
                image.convert("RGB").save(smaller, "WEBP", quality=QUALITY)
                kind, data = "webp", smaller.getvalue()
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(
            f"{path} is not a picture that can be read ({one_line(error)}); delete it "
            "and give the same command again."
        ) from error
    width = round(inches * _PIXELS_AN_INCH)
    height = round(width * size[1] / size[0])
    wide = " wide" if inches > 1.2 * COLUMN else ""
    coded = base64.b64encode(data).decode()
    return (
        f'<span class="picture{wide}"><img alt="{alt}" width="{width}" '
        f'height="{height}" src="data:image/{kind};base64,{coded}"></span>\n'
    )


def _table_of_contents(headings: Sequence[tuple[int, str, str]]) -> str:
    """Links to the sections, those of the third level behind their second."""
    sections: list[list[str]] = []
    for level, text, name in headings:
        if level == 2 or (level == 3 and not sections):
            sections.append([])
        if level in (2, 3):
            sections[-1].append(f'<a href="#{name}">{html.escape(text)}</a>')
    if sum(map(len, sections)) < 2:
        return ""
    items = []
    for first, *others in sections:
        inner = "".join(f"<li>{link}</li>" for link in others)
        items.append(f"<li>{first}{f'<ul>{inner}</ul>' if inner else ''}</li>\n")
    return f'<nav aria-label="Contents"><ul>\n{"".join(items)}</ul></nav>\n'
