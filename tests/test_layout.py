"""The rooms of the package (docs/design.md): read off the source, no exceptions."""

import ast
import pathlib
from collections.abc import Iterator, Mapping

import gcad_jax

PACKAGE = pathlib.Path(gcad_jax.__file__).parent
ROOT = "(root)"
ABOVE_DATA = ("core", "data")
TO_TRAINING = (*ABOVE_DATA, "models", "methods", "training")
TO_CONFIG = (*TO_TRAINING, "pretraining")
TO_RUNS = (*TO_CONFIG, "evaluation", "reporting", "inference", "config")
# In import order: what each room may import beside itself.
ROOMS: Mapping[str, tuple[str, ...]] = {
    "core": (),
    "data": ("core",),
    "models": ("core",),
    "methods": (*ABOVE_DATA, "models"),
    "training": (*ABOVE_DATA, "models", "methods"),
    "pretraining": TO_TRAINING,
    "evaluation": ABOVE_DATA,
    "reporting": (*ABOVE_DATA, "evaluation"),
    "inference": (*ABOVE_DATA, "models", "methods", "evaluation", "reporting"),
    "config": TO_CONFIG,
    "runs": TO_RUNS,
    "studies": (*TO_RUNS, "runs"),
    "cli": ("core", "config"),
    "benchmarks": (*TO_RUNS, "runs", "studies"),
}
MOST_AT_ROOT = 8
MOST_IN_FOLDER = 12
LONGEST_FILE = 350
LONGEST_FUNCTION = 60
# The config files are in a wheel too: users' files, which import what users import.
CONFIGS = "configs"


def module_name(path: pathlib.Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


FILES = {
    module_name(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if CONFIGS not in path.relative_to(PACKAGE).parts
}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def room(module: str) -> str:
    """The folder directly under the package that a module is in."""
    path = FILES[module].relative_to(PACKAGE)
    return path.parts[0] if len(path.parts) > 1 else ROOT


def imports(module: str) -> Iterator[str]:
    """The modules of the package that a module imports, wherever in the file."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


GRAPH = {
    module: {other for other in imports(module) if other in FILES} - {module}
    for module in FILES
}


def test_every_room_is_known():
    assert {room(module) for module in FILES} == {ROOT, *ROOMS}


def test_a_room_imports_only_from_rooms_before_it():
    """Also not from the root, nor anything of the package that is not there."""
    wrong = [
        f"{module} imports {other}"
        for module in FILES
        if room(module) != ROOT
        for other in imports(module)
        if other.partition(".")[0] == PACKAGE.name
        and (
            other not in FILES
            or room(other) not in {*ROOMS[room(module)], room(module)}
        )
    ]
    assert not wrong


def test_what_a_room_may_import_stands_before_it():
    order = list(ROOMS)
    for name, allowed in ROOMS.items():
        before = order[: order.index(name)]
        assert set(allowed) <= set(before)


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of more than one node (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = set(stack[stack.index(node) :])
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(component)

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_circles_are_seen():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "b"}}
    assert circles(graph) == [{"b", "c"}]


def test_no_files_import_each_other_in_a_circle():
    assert not circles(GRAPH)


def test_few_modules_at_the_root_and_in_each_folder():
    """A sub-folder counts as one; `__init__.py` is the folder itself."""
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_ROOT
    for room_name in ROOMS:
        folders = {path.parent for path in (PACKAGE / room_name).rglob("*.py")}
        for folder in folders:
            modules = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
            inner = [other for other in folders if other.parent == folder]
            assert len(modules) + len(inner) <= MOST_IN_FOLDER, folder


def test_flags_are_read_by_commands_only():
    for module, tree in TREES.items():
        names = {
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        } | {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        if names & {"absl.flags", "absl.app", "ml_collections.config_flags"}:
            assert room(module) in (ROOT, "cli"), module


def test_only_commands_are_programs():
    """Nobody imports a command; the benchmarks are programs of their own."""
    commands = {m for m in FILES if room(m) == ROOT and m != PACKAGE.name}
    assert not {m for m in FILES if room(m) != ROOT and GRAPH[m] & commands}


def test_files_and_functions_are_short():
    for module, tree in TREES.items():
        assert len(FILES[module].read_text().splitlines()) <= LONGEST_FILE, module
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= LONGEST_FUNCTION, f"{module}: {node.name}"
