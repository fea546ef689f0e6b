"""Docstrings of this package, which are plain text, as Markdown.

Their parts: paragraphs; entries `name: text` with their further lines indented, which
become a list; "Raises:" and "Returns:" with such entries; and indented blocks, which
are shown as they are.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence

WIDTH = 100
_ENTRY = re.compile(r"([\w.*]+(?:, [\w.*]+)*): (.+)")
_TITLE = re.compile(r"(Raises|Returns|Args|Yields):")
_CODE = re.compile(r"`[^`]+`")
# A line of a paragraph that Markdown would take for a list, a heading or a quotation.
_MARKER = re.compile(r"([-+*]|\d+[.)]|#+|>|=+|-+)( |$)")


def to_markdown(text: str) -> list[str]:
    """The lines of a docstring, in Markdown; each part ends with an empty line."""
    found: list[str] = []
    for block in _blocks(text.splitlines()):
        if _TITLE.fullmatch(block[0]):
            inner = "\n".join(_dedented(block[1:]))
            found += [f"**{block[0]}**", "", *to_markdown(inner)]
        elif block[0].startswith(" "):
            found += ["```text", *_dedented(block), "```", ""]
        else:
            found += _entries(block)
    return found


def escaped(text: str) -> str:
    """Inline text: `code` stays, and of all else no character marks anything up."""
    found, end = "", 0
    for code in _CODE.finditer(text):
        found += _plain(text[end : code.start()]) + code[0]
        end = code.end()
    return found + _plain(text[end:])


def sentence(text: str) -> str:
    """With a capital and a stop; a symbol or a name of the paper stays as it is."""
    first = text.split()[0]
    if first.islower() and first.isascii() and "_" not in first:
        text = text[0].upper() + text[1:]
    return escaped(text) + "."


def _plain(text: str) -> str:
    text = re.sub(r"([\\*`]|<(?=[\w/!?])|\](?=[(\[]))", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Runs of lines without an empty one between; a title ends a block too."""
    block: list[str] = []
    for line in [*lines, ""]:
        if block and (not line.strip() or _TITLE.fullmatch(line)):
            yield block
            block = []
        if line.strip():
            block.append(line.rstrip())


def _entries(block: Sequence[str]) -> list[str]:
    """A paragraph, entries, or a paragraph that entries follow."""
    parts: list[str] = []
    for i, line in enumerate(block):
        entry = _entry(block, i)
        if entry:
            parts.append(f"- **{escaped(entry[1])}**: {entry[2]}")
        elif not parts or (not line.startswith(" ") and parts[-1].startswith("- ")):
            parts.append(line.strip())
        else:
            parts[-1] += f" {line.strip()}"
    found: list[str] = []
    for i, part in enumerate(parts):
        found += _wrapped(part)
        both = part.startswith("- ") and "".join(parts[i + 1 : i + 2]).startswith("- ")
        found += [] if both else [""]
    return found


def _wrapped(part: str) -> list[str]:
    """A paragraph or an entry in lines that begin with no mark of Markdown."""
    head = re.match(r"- \*\*.+?\*\*: ", part)
    start = head[0] if head else ""
    indent = "  " if head else ""
    lines = textwrap.wrap(
        start + escaped(part[len(start) :]),
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    found = lines[:1]
    for line in lines[1:]:
        if _MARKER.match(line.strip()):
            found[-1] += f" {line.strip()}"
        else:
            found.append(line)
    return found


def _entry(block: Sequence[str], place: int) -> re.Match[str] | None:
    """The entry that begins in a line; not a sentence that has a colon in it."""
    before = block[place - 1] if place else ""
    behind = block[place + 1] if place + 1 < len(block) else ""
    entry = _ENTRY.fullmatch(block[place])
    if before and not before.endswith((".", ":")):
        return None  # in the middle of a sentence
    if behind and not behind.startswith(" ") and not _ENTRY.fullmatch(behind):
        return None  # its next line would be indented
    return entry


def _dedented(lines: Sequence[str]) -> list[str]:
    least = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
    return [line[least:] for line in lines]
