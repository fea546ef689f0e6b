"""The documentation site: sphinx-build -W --keep-going -b html docs OUT."""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
# The package of this checkout, whichever is installed, and the extension of the site.
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from gcad_jax import __version__  # noqa: E402

project = "gcad_jax"
author = "the authors of gcad_jax"
release = version = __version__

extensions = ["myst_parser", "site_pages"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4  # links like page.md#a-heading, as on GitHub

highlight_language = "text"
smartquotes = False  # quotes are part of what one types

html_theme = "furo"
html_title = "gcad_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
