"""What the pages are made with: lists of fields, help texts, docstrings of the API."""

import dataclasses
import importlib
import inspect
import re
from typing import Any

import fields
from docstrings import to_rst
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def named(path: str) -> Any:
    """`package.module.NAME`."""
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


class Fields(SphinxDirective):
    """The fields that a class has beside those of its parents, as a list.

    ```{fields} gcad_jax.methods.gcad.GCAD
    :flag: --config.method.
    ```
    """

    required_arguments = 1
    option_spec = {"flag": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """An entry for each, with a place that can be linked to."""
        kind = named(self.arguments[0])
        # A change of the docstring makes the page anew.
        self.env.note_dependency(inspect.getsourcefile(kind))
        items = [self._item(kind, field) for field in fields.fields(kind)]
        return [nodes.definition_list("", *items, classes=["fields"])]

    def _item(self, kind: type, field: fields.Field) -> nodes.Node:
        name = nodes.literal("", self.options.get("flag", "") + field.name)
        term = nodes.term("", "", name, ids=[f"{kind.__name__}.{field.name}"])
        facts = [("default", field.default), ("unit", field.unit)]
        said = [(name, value) for name, value in facts if value]
        said.append(("source", field.source))
        line = nodes.paragraph(classes=["facts"])
        for label, value in said:
            shown = nodes.literal if label == "default" else nodes.inline
            head = nodes.inline("", f"{label} ", classes=["label"])
            line += nodes.inline("", "", head, shown("", value))
            line += nodes.Text(" ")
        body = [*self.parse_text_to_nodes(_sentence(field.text)), line]
        if field.others:
            body.append(_others(field))
        return nodes.definition_list_item("", term, nodes.definition("", *body))


def _others(field: fields.Field) -> nodes.Node:
    line = nodes.paragraph(classes=["facts"])
    for value, presets in field.others.items():
        where = nodes.inline("", f" in {', '.join(presets)}", classes=["label"])
        line += nodes.inline("", "", nodes.literal("", value), where)
        line += nodes.Text(" ")
    return line


def _sentence(text: str) -> str:
    """As Markdown: with a capital and a stop, and no letter that marks anything up."""
    text = text.replace("*", r"\*").replace("<", r"\<")
    first = text.split()[0]
    # A symbol or a name of the paper stays as it is.
    if first.islower() and first.isascii() and "_" not in first:
        text = text[0].upper() + text[1:]
    return text + "."


class Help(SphinxDirective):
    """What a command says of itself: ```{help} gcad_jax.merge```."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Its HELP, as it is."""
        module = importlib.import_module(self.arguments[0])
        self.env.note_dependency(module.__file__)
        return [nodes.literal_block(module.HELP, module.HELP, language="text")]


def _docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    del app, what, name, options
    if _is_config(obj):
        lines[:] = [*to_rst(lines[:1]), "", "Its fields: :doc:`config`."]
    else:
        lines[:] = to_rst(lines)


def _signature(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    del app, what, name, options
    if _is_config(obj):
        return "", returns
    # Not Python, so the whole signature would not be understood.
    return signature and signature.replace("<factory>", "..."), returns


def _is_config(obj: Any) -> bool:
    """Whether a class has its fields on the page of all fields."""
    return dataclasses.is_dataclass(obj) and "title" in vars(obj)


def _inside(app: Sphinx, page: str, source: list[str]) -> None:
    """Links out of docs/, which are right in a checkout, to the pages of the site."""
    del app, page
    for file, other in OUTSIDE.items():
        source[0] = source[0].replace(f"]({file})", f"]({other})")


OUTSIDE = {"../CHANGELOG.md": "changelog.md"}


def _flags_in_one_piece(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """A long command is broken between its flags, not behind the hyphens of one."""
    del app, page, template, tree
    body = context.get("body", "")
    context["body"] = _COMMANDS.sub(
        lambda block: _FLAG.sub(r'<span class="flag">\g<0></span>', block[0]), body
    )


_COMMANDS = re.compile(r'<div class="highlight-bash.*?</pre>', re.S)
_VALUE = r'<span class="o">=</span>(?:<span class="s\d">[^<]*</span>|[^\s<]*)'
_FLAG = re.compile(rf"(?<=>)--[\w.]+(?:{_VALUE})?")


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers all of it."""
    app.add_directive("fields", Fields)
    app.add_directive("help", Help)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    app.connect("source-read", _inside)
    app.connect("html-page-context", _flags_in_one_piece)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
