"""Docstrings of this package, which are plain text, as reStructuredText.

Their parts: paragraphs; entries `name: text` with their further lines indented, which
become a list; "Raises:" and "Returns:" with such entries; and indented blocks, which
are shown as they are.
"""

import re
from collections.abc import Iterator, Sequence

_ENTRY = re.compile(r"([\w.*]+(?:, [\w.*]+)*): (.+)")
_TITLE = re.compile(r"(Raises|Returns|Args|Yields):")
_CODE = re.compile(r"`([^`]+)`(\w?)")


def to_rst(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring, dedented, in reStructuredText."""
    found: list[str] = []
    for block in _blocks(lines):
        if _TITLE.fullmatch(block[0]):
            found += [f"**{block[0]}**", "", *to_rst(_dedented(block[1:]))]
        elif block[0].startswith(" "):
            found += ["::", "", *(f"   {line}" for line in block), ""]
        else:
            found += _entries(block)
    return found


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
    found: list[str] = []
    text = ""
    for i, line in enumerate(block):
        entry = _entry(block, i)
        if entry:
            found += _paragraph(text)
            text = f"* **{escaped(entry[1])}**: {marked(entry[2])}"
        elif not line.startswith(" ") and text.startswith("* "):
            found += _paragraph(text)
            text = marked(line)
        else:
            text = f"{text} {marked(line.strip())}".strip()
    return [*found, *_paragraph(text)]


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


def _paragraph(text: str) -> list[str]:
    return [text, ""] if text else []


def marked(text: str) -> str:
    """Inline text: `code` as literals, all else escaped."""
    found, end = "", 0
    for code in _CODE.finditer(text):
        # A letter right behind a literal would keep it open.
        gap = "\\ " if code[2] else ""
        found += f"{escaped(text[end : code.start()])}`{code[1]}`{gap}{code[2]}"
        end = code.end()
    return found + escaped(text[end:])


def escaped(text: str) -> str:
    """Text in which no character marks anything up."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def _dedented(lines: Sequence[str]) -> list[str]:
    least = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
    return [line[least:] for line in lines]
