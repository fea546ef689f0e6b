"""What Sphinx does to pages before and after it builds them.

The pages are plain Markdown, so that they read on the repository's web page too. What
only the site needs is added here: tables of contents, and the changelog.
"""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sphinx.application import Sphinx

CHANGELOG = pathlib.Path(__file__).parents[2] / "CHANGELOG.md"
# The pages below a page, by the title of their part.
CONTENTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "index": {
        "Use": (
            *("install", "own_images", "export", "data_sets", "methods", "presets"),
            *("studies", "scale", "report"),
        ),
        "Understand": ("spro", "differences", "teacher", "results/index"),
        "Look up": ("config", "commands", "api"),
        "Extend": ("new_method", "new_data_set", "design", "releases", "changelog"),
    },
    "results/index": {
        "": (
            *("closed_form", "circles", "juice_bottle", "hazelnut"),
            *("ablations", "seeds"),
            *("own_backbone", "precision", "saturation", "evaluator", "throughput"),
            *("cpu_forms", "predict", "scaling"),
        )
    },
}
_COMMANDS = re.compile(r'<div class="highlight-bash.*?</pre>', re.S)
_VALUE = r'<span class="o">=</span>(?:<span class="s\d">[^<]*</span>|[^\s<]*)'
_FLAG = re.compile(rf"(?<=>)--[\w.]+(?:{_VALUE})?")


def _for_the_site(app: Sphinx, page: str, source: list[str]) -> None:
    """Adds the table of contents, and puts the changelog on its page."""
    if page == "changelog":
        app.env.note_dependency(CHANGELOG)
        source[0] = CHANGELOG.read_text().replace("](docs/", "](")
    # Out of docs/ in a checkout, within the site here.
    to_root = "../" * page.count("/")
    source[0] = source[0].replace(
        f"]({to_root}../CHANGELOG.md)", f"]({to_root}changelog.md)"
    )
    for caption, pages in CONTENTS.get(page, {}).items():
        options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
        lines = ["", "```{toctree}", *options, "", *pages, "```", ""]
        source[0] += "\n".join(lines)


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
    app.connect("source-read", _for_the_site)
    app.connect("html-page-context", _flags_in_one_piece)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
