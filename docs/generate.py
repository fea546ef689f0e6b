"""python docs/generate.py [--check]: the parts of the pages that come from the code.

A page names such a part in a comment, and the part stands between it and the next one:

    <!-- generated: fields gcad_jax.methods.gcad.GCAD --config.method. -->
    ...
    <!-- end of generated -->

`fields CLASS FLAG` lists the fields of a config class, `help MODULE` shows what a
command prints for --help, `api MODULE [NAME ...]` shows signatures and docstrings. The
pages are committed, so that they read on the repository's web page too; --check changes
nothing and fails where a page is not up to date.
"""

import importlib
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

DOCS = pathlib.Path(__file__).resolve().parent
# The package of this checkout, whichever is installed.
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import api  # noqa: E402
import docstrings  # noqa: E402
import fields  # noqa: E402

PART = re.compile(
    r"(<!-- generated: (\w+) ([^>\n]+) -->\n).*?(<!-- end of generated -->)", re.S
)
COMMAND = "python docs/generate.py"


def main(arguments: Sequence[str]) -> int:
    """Writes the pages that are not up to date; with --check, names them and fails."""
    if [*arguments] not in ([], ["--check"]):
        sys.exit(f"usage: {COMMAND} [--check]")
    stale = {page: text for page, text in generated_pages() if page.read_text() != text}
    if arguments and stale:
        names = ", ".join(str(page.relative_to(DOCS.parent)) for page in stale)
        print(f"{names} is not up to date; run {COMMAND}.", file=sys.stderr)
        return 1
    for page, text in stale.items():
        page.write_text(text)
        print(f"wrote {page.relative_to(DOCS.parent)}")
    return 0


def generated_pages() -> list[tuple[pathlib.Path, str]]:
    """Each page that has generated parts, and its text as it should be."""
    pages = ((page, page.read_text()) for page in sorted(DOCS.rglob("*.md")))
    return [(page, generate(text)) for page, text in pages if PART.search(text)]


def generate(text: str) -> str:
    """A page with its parts made anew.

    Raises:
      KeyError: a part of an unknown kind.
    """

    def part(match: re.Match[str]) -> str:
        lines = KINDS[match[2]](*match[3].split())
        return match[1] + "\n" + "\n".join(lines).strip("\n") + "\n\n" + match[4]

    return PART.sub(part, text)


def field_list(path: str, flag: str) -> list[str]:
    """An entry for each field that a class has beside those of its parents.

    path: `package.module.Class`. flag: what stands before the name of a field.
    """
    found = []
    for field in fields.fields(class_at(path)):
        facts = [f"*default* `{field.default}`"] if field.default else []
        facts += [f"*unit* {field.unit}"] if field.unit else []
        facts += [f"*allowed* {docstrings.escaped(field.allowed)}"] * bool(
            field.allowed
        )
        facts.append(f"*source* {docstrings.escaped(field.source)}")
        item = [f"- **`{flag}{field.name}`**: {docstrings.sentence(field.text)}"]
        item.append(f"  {', '.join(facts)}.")
        if field.others:
            values = (
                f"`{value}` in {', '.join(f'`{preset}`' for preset in presets)}"
                for value, presets in field.others.items()
            )
            item.append(f"  *presets*: {'; '.join(values)}.")
        found += "\\\n".join(item).splitlines()  # a backslash breaks the line
    return found


def help_text(module: str) -> list[str]:
    """What a command prints for --help, as it is."""
    text = importlib.import_module(module).COMMAND.help()
    return ["```text", *text.strip("\n").splitlines(), "```"]


def class_at(path: str) -> Any:
    """The class at `package.module.Class`."""
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


KINDS: dict[str, Callable[..., list[str]]] = {
    "fields": field_list,
    "help": help_text,
    "api": api.module,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
