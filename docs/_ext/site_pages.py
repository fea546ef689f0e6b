"""What Sphinx does to pages before and after it builds them."""

import re
from typing import Any

from sphinx.application import Sphinx

OUTSIDE = {"../CHANGELOG.md": "changelog.md"}
_COMMANDS = re.compile(r'<div class="highlight-bash.*?</pre>', re.S)
_VALUE = r'<span class="o">=</span>(?:<span class="s\d">[^<]*</span>|[^\s<]*)'
_FLAG = re.compile(rf"(?<=>)--[\w.]+(?:{_VALUE})?")


def _inside(app: Sphinx, page: str, source: list[str]) -> None:
    """Links out of docs/, which are right in a checkout, to the pages of the site."""
    del app, page
    for file, other in OUTSIDE.items():
        source[0] = source[0].replace(f"]({file})", f"]({other})")


def _flags_in_one_piece(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """A long command is broken between its flags, not behind the hyphens of one."""
    del app, page, template, tree
    body = context.get("body", "")
    context["body"] = _COMMANDS.sub(
        lambda block: _FLAG.sub(r'<span class="flag">\g<0></span>', block[0]), body
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers both."""
    app.connect("source-read", _inside)
    app.connect("html-page-context", _flags_in_one_piece)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
