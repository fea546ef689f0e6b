"""Signatures and docstrings of a module, as Markdown."""

import ast
import dataclasses
import functools
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import docstrings

WIDTH = 88  # of a signature in one line
# Members that a class may have; the first two hold the function.
HOLDERS = (classmethod, staticmethod)
PROPERTIES = (property, functools.cached_property)


def module(name: str, *members: str) -> list[str]:
    """A heading for the module, its docstring, and each member.

    members: names; without any, the public classes and functions made in the module.

    Raises:
      AttributeError: the module has no such member.
    """
    source = importlib.import_module(name)
    found = [f"### `{name}`", "", *docstrings.to_markdown(text_of(source))]
    for member in members or public(source):
        found += document(member, getattr(source, member))
    return found


def public(source: Any) -> list[str]:
    """Names of the documented classes and functions of a module, in its order."""
    return [
        name
        for name, value in vars(source).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == source.__name__
        and value.__doc__
    ]


def document(name: str, value: Any) -> list[str]:
    """Heading, signature and docstring; of a class those of its members too.

    A config class has its fields on a page of their own.
    """
    found = [f"#### {name}", "", *fenced(signature(name, value)), ""]
    if is_config(value):
        summary, *_ = text_of(value).split("\n\n")
        found += docstrings.to_markdown(summary)
        found += ["Its fields: [all fields of the configs](config.md).", ""]
    else:
        found += docstrings.to_markdown(text_of(value))
    if inspect.isclass(value):
        for member, lines in members_of(value):
            found += [f"**`{name}.{member}`**", "", *lines]
    return found


def members_of(kind: type) -> Iterator[tuple[str, list[str]]]:
    """Each documented public member that a class defines, with its text.

    A method is put together from parts; those that are its own alone are shown too.
    """
    parts = [part for part in kind.__mro__ if is_config(kind) and is_part(part)]
    names = dict.fromkeys(name for part in [*parts, kind] for name in vars(part))
    for name in names:
        value = inspect.getattr_static(kind, name)
        function = value.__func__ if isinstance(value, HOLDERS) else value
        if isinstance(value, property):
            function = value.fget
        if isinstance(value, functools.cached_property):
            function = value.func
        of = {f"{part.__qualname__}.{name}" for part in (kind, *parts)}
        made_here = getattr(function, "__qualname__", "") in of
        if name.startswith("_") or not made_here or not function.__doc__:
            continue
        lines = docstrings.to_markdown(text_of(function))
        if not isinstance(value, PROPERTIES):
            lines = [*fenced(signature(name, function)), "", *lines]
        yield name, lines


def text_of(value: Any) -> str:
    """The docstring, without its indentation."""
    return inspect.cleandoc(value.__doc__ or "")


def is_config(value: Any) -> bool:
    """Whether a class has its fields on the page of all fields."""
    return dataclasses.is_dataclass(value) and "title" in vars(value)


def is_part(kind: type) -> bool:
    """Whether a class is a part that methods are made of, and has fields of its own."""
    in_methods = kind.__module__.startswith("gcad_jax.methods.")
    return in_methods and dataclasses.is_dataclass(kind) and not is_config(kind)


def fenced(text: str) -> list[str]:
    """A block of code that no test takes for a program."""
    return ["```py", *text.splitlines(), "```"]


def signature(name: str, value: Any) -> str:
    """As in the source, in one line or with a line for each parameter."""
    if inspect.isclass(value):
        return _joined(f"class {name}", class_parameters(value), "")
    node = _parsed(value)
    result = f" -> {annotation(node.returns)}" if node.returns else ""
    return _joined(f"def {name}", parameters(node.args), result)


def class_parameters(kind: type) -> list[str]:
    """The parameters that make one; none of a protocol, a config or an exception."""
    if is_config(kind) or getattr(kind, "_is_protocol", False):
        return []
    if dataclasses.is_dataclass(kind):
        return [
            _field(kind, field.name) for field in dataclasses.fields(kind) if field.init
        ]
    if "__init__" in vars(kind):
        return parameters(_parsed(vars(kind)["__init__"]).args)
    return []


def parameters(arguments: ast.arguments) -> list[str]:
    """Each with its type and default; not self nor cls."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults))
    found = [
        _parameter(one, default)
        for one, default in zip(
            positional, [*defaults, *arguments.defaults], strict=True
        )
        if one.arg not in ("self", "cls")
    ]
    if arguments.vararg:
        found.append(f"*{_parameter(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        found.append("*")
    found += map(_parameter, arguments.kwonlyargs, arguments.kw_defaults)
    if arguments.kwarg:
        found.append(f"**{_parameter(arguments.kwarg, None)}")
    return found


def annotation(node: ast.expr) -> str:
    """A type as in the source; one that is written as a string without its quotes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ast.unparse(node)


def _parameter(one: ast.arg, default: ast.expr | None) -> str:
    kind = f": {annotation(one.annotation)}" if one.annotation else ""
    equals = " = " if kind else "="
    return f"{one.arg}{kind}" + (f"{equals}{ast.unparse(default)}" if default else "")


def _field(kind: type, name: str) -> str:
    owner = next(c for c in kind.__mro__ if name in inspect.get_annotations(c))
    for line in _parsed(owner).body:
        if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == name:
            # A factory says little of the value that it makes.
            default = "" if line.value is None else f" = {ast.unparse(line.value)}"
            if isinstance(line.value, ast.Call) and "fields.field(" in default:
                shown = ast.unparse(line.value.args[0])
                default = "" if shown == "fields.REQUIRED" else f" = {shown}"
            elif "field(" in default:
                default = " = ..."
            return f"{name}: {annotation(line.annotation)}{default}"
    raise LookupError(f"{kind.__qualname__}.{name} is not in the source")


def _parsed(value: Any) -> Any:
    [node] = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    return node


def _joined(head: str, parts: list[str], result: str) -> str:
    if not parts and head.startswith("class"):
        return head
    line = f"{head}({', '.join(parts)}){result}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{head}(", *(f"    {part}," for part in parts), f"){result}"])
