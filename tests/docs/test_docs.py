"""The Python of the documentation runs, and its commands are ones that there are."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers import commands, runs

from gcad_jax import merge

DOCS = runs.ROOT / "docs"
PAGES = {
    str(page.relative_to(runs.ROOT).with_suffix("")): page.read_text()
    for page in (runs.ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
}
# What they say is run by test_worked_examples.py and test_own_images.py.
WORKED = ("docs/new_method", "docs/new_data_set", "docs/own_images")
ASKED = "docs/export"  # its Python asks an exported file: test_export.py
SNIPPETS = [
    pytest.param(code, id=f"{name}-{number}")
    for name, page in PAGES.items()
    if name not in (*WORKED, ASKED)
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page, re.S))
]
LINES = [
    (name, line)
    for name, page in PAGES.items()
    if name not in WORKED
    for line in commands.lines(page)
]
SCRIPT = re.compile(r"launch/\w+\.(sh|sbatch)")
CALLS = [
    pytest.param(commands.words(line), id=f"{name}-{number}")
    for number, (name, line) in enumerate(LINES)
    if any(SCRIPT.fullmatch(word) for word in commands.words(line))
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippet_runs(code, capsys):
    exec(code, {})
    assert 0 <= float(capsys.readouterr().out) <= 1


def test_there_are_snippets():
    assert SNIPPETS
    assert CALLS


def test_every_command_is_one_that_the_program_takes():
    found = [
        command
        for _, line in LINES
        for command in commands.of_modules(commands.words(line))
    ]
    assert len(found) > 50
    assert {module for module, *_ in found} >= {"main", "evaluate", "convert", "merge"}
    commands.check_modules(found)


def test_every_merge_names_its_flags():
    found = [
        arguments
        for _, line in LINES
        for arguments in commands.of_module(commands.words(line), "merge")
    ]
    assert found
    for arguments in found:
        assert [word.split("=")[0][2:] for word in arguments] == list(
            merge.COMMAND.flags()
        )[:2]


def test_what_pages_show_of_the_code_is_up_to_date():
    done = check(runs.ROOT / "docs/generate.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert {page for page in PAGES if "<!-- generated: " in PAGES[page]} == {
        "docs/config",
        "docs/commands",
        "docs/api",
    }


def test_a_page_that_is_not_up_to_date_is_named(tmp_path):
    shutil.copytree(runs.ROOT / "docs", tmp_path / "docs")
    shutil.copytree(runs.ROOT / "configs", tmp_path / "configs")
    page = tmp_path / "docs/commands.md"
    before = page.read_text()
    page.write_text(before.replace("```text\n", "```text\nOld.\n", 1))
    done = check(tmp_path / "docs/generate.py")
    assert (done.returncode, done.stderr) == (
        1,
        "docs/commands.md is not up to date; run python docs/generate.py.\n",
    )
    assert "Old.\n" in page.read_text()


def check(script):
    """What python docs/generate.py --check says."""
    return subprocess.run(
        [sys.executable, str(script), "--check"],
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("name", PAGES)
def test_no_page_waits_for_a_number(name):
    """A place to be filled is a word of capitals with a line, such as TRAIN_TIME.

    $TRAIN_TIME would be a variable of the environment.
    """
    prose = re.sub(r"```.*?```|`[^`]*`", "", PAGES[name], flags=re.S)
    links = re.sub(r"\]\([^)]*\)", "]", prose)
    assert not re.findall(r"@\w+@|(?<!\$)\b[A-Z]{2,}_[A-Z_]{2,}\b", links)


def test_the_readme_is_short_and_has_the_commands_to_start():
    page = PAGES["README"]
    assert len(page.split()) <= 900
    blocks = re.findall(r"```bash\n(.*?)```", page, re.S)
    assert blocks[0].startswith("git clone REPOSITORY gcad_jax && cd gcad_jax && ")
    assert blocks[1] == (
        ". .venv/bin/activate && pip install -e '.[test]' && python -m pytest\n"
    )


@pytest.mark.parametrize("name", sorted(PAGES.keys() - {*WORKED}))
def test_the_files_that_a_page_names_are_there(name):
    """Those in `code`; one in capitals, configs/NAME.py, stands for another."""
    prose = re.sub(r"```.*?```", "", PAGES[name], flags=re.S)
    files = re.findall(
        r"`((?:gcad_jax|tests|configs|launch|docs|\.ci)/[\w/.]+)`", prose
    )
    for file in files:
        # The package may be installed, and not in the checkout.
        root = runs.PACKAGE.parent if file.startswith("gcad_jax/") else runs.ROOT
        assert (root / file).exists() or re.search("[A-Z]{3}", file), file


def test_the_files_and_rooms_of_the_design_are_there():
    """A file without a folder stands behind one with it, in the same folder."""
    named = re.findall(r"`([\w/]+(?:\.py|/))`", PAGES["docs/design"])
    assert len(named) > 50
    top = {"gcad_jax/", "configs/", "docs/", "tests/", "tests/fences/"}
    for name in set(named) - top:
        tests = list((runs.ROOT / "tests").glob(f"**/{name.removeprefix('tests/')}"))
        assert tests or list(runs.PACKAGE.glob(f"**/{name}")), name


def test_every_figure_and_every_file_of_numbers_is_on_a_page():
    files = [f for end in ("png", "json") for f in DOCS.rglob(f"*.{end}")]
    assert len(files) > 10
    for file in files:
        assert any(f"{file.name})" in page for page in PAGES.values()), file


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_plain_markdown(name):
    """A directive of Sphinx would be an empty place on the repository's web page."""
    assert not re.findall(r"^ *(?:```|:::)+\{.*|\{\w+\}`.*", PAGES[name], re.M)


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(name):
    """Links are relative to the page, as the repository's web page reads them."""
    file = runs.ROOT / f"{name}.md"
    prose = re.sub(r"```.*?```", "", PAGES[name], flags=re.S)
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", prose)
    links += [(link, "") for link in re.findall(r'<img[^>]* src="([^":]*)"', prose)]
    for path, place in links:
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), path
        if place:
            assert place[1:] in anchors(target.read_text()), (path, place)


def anchors(page: str) -> set[str]:
    """The places of a page that links may name: its headings, as GitHub names them."""
    prose = re.sub(r"```.*?```", "", page, flags=re.S)
    headings = re.findall(r"^#+ (.*)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("words", CALLS)
def test_every_script_that_is_called_takes_its_arguments(words):
    place = next(i for i, word in enumerate(words) if SCRIPT.fullmatch(word))
    settings = [word for word in words[:place] if re.match("[A-Z]+=", word)]
    arguments = [word for word in words[place + 1 :] if word != "--dry-run"]
    done = subprocess.run(
        ["bash", words[place], "--dry-run", *arguments],
        cwd=runs.ROOT,
        env={**os.environ, **dict(word.split("=", 1) for word in settings)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_the_flags_that_scripts_hand_on_are_ones_that_the_program_takes():
    found = []
    for call in CALLS:
        [words] = call.values
        config = next(word for word in words if word.startswith("configs/"))
        flags = [word for word in words if word.startswith("--config.")]
        found.append([f"--config={config}", "--workdir=x", *flags])
    commands.check(found)


def test_every_page_is_in_a_table_of_contents(monkeypatch):
    """The build of the site fails on a page that is in none; this needs no build."""
    monkeypatch.syspath_prepend(DOCS / "_ext")
    site_pages = pytest.importorskip("site_pages", reason="needs the extra docs")
    listed = {"index"}
    for page, parts in site_pages.CONTENTS.items():
        folder = page.rpartition("/")[0]
        for names in parts.values():
            listed |= {f"{folder}/{name}" if folder else name for name in names}
    there = {str(p.relative_to(DOCS).with_suffix("")) for p in DOCS.rglob("*.md")}
    assert listed == there
