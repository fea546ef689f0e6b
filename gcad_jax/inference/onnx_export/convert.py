"""A traced JAX function to the nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from gcad_jax.inference.onnx_export import elementwise, products, shapes
from gcad_jax.inference.onnx_export.graph import (
    ComplexTensor,
    Graph,
    Shape,
    Tensor,
    Unsupported,
    element_type,
)

RULES = {**elementwise.RULES, **shapes.RULES, **products.RULES}
INLINED = {
    *("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"),
    *("custom_vjp_call_jaxpr", "remat2", "checkpoint"),
}
# Bytes of a constant that may be computed here: ONNX Runtime does the rest.
FOLDED = 2**16


def add_jaxpr(
    graph: Graph, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]
) -> list[Any]:
    """Adds a program to a graph; what it returns.

    jaxpr: of JAX, open. constants, arguments: tensors, or arrays.

    Raises:
      Unsupported: a primitive that has no counterpart.
    """
    values: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        if isinstance(atom, core.Literal):
            return constant(atom.val, atom.aval)
        return values[atom]

    names = (*jaxpr.constvars, *jaxpr.invars)
    for variable, value in zip(names, (*constants, *arguments), strict=True):
        given = isinstance(value, Tensor | ComplexTensor)
        values[variable] = value if given else constant(value, variable.aval)
    for eqn in jaxpr.eqns:
        results = add_equation(graph, eqn, [read(atom) for atom in eqn.invars])
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def constant(value: Any, aval: Any) -> Tensor:
    """An array of the program."""
    return Tensor(aval.shape, aval.dtype, None, np.asarray(value, aval.dtype))


def add_equation(graph: Graph, eqn: Any, inputs: list[Any]) -> list[Any]:
    """Adds one primitive; what it returns."""
    name, params = eqn.primitive.name, eqn.params
    if name == "platform_index":  # that of a device which none of them names
        place = [platforms is None for platforms in params["platforms"]].index(True)
        return [constant(np.int32(place), eqn.outvars[0].aval)]
    if name == "cond":
        chosen = inputs[0].constant
        if chosen is None:
            raise Unsupported("a choice between two programs is not converted.")
        branch = params["branches"][int(chosen)]
        return add_jaxpr(graph, branch.jaxpr, branch.consts, inputs[1:])
    if name in INLINED:
        inner = params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr")))
        inner_constants = getattr(inner, "consts", ())
        inner = getattr(inner, "jaxpr", inner)
        return add_jaxpr(graph, inner, inner_constants, inputs)
    if name == "scan":
        return add_scan(graph, eqn, inputs)
    if all(0 in out.aval.shape for out in eqn.outvars):  # parts without elements
        return [_nothing(out.aval) for out in eqn.outvars]
    if (folded := fold(eqn, inputs)) is not None:
        return folded
    if name not in RULES:
        raise Unsupported(f"JAX's {name} is not converted.")
    result = RULES[name](graph, eqn, *inputs)
    return list(result) if isinstance(result, tuple) else [result]


def _nothing(aval: Any) -> Tensor:
    """A tensor of no element; symbolic lengths of it are never looked at."""
    shape = [dim if isinstance(dim, int) else 0 for dim in aval.shape]
    return Tensor(aval.shape, aval.dtype, None, np.zeros(shape, aval.dtype))


def fold(eqn: Any, inputs: Sequence[Any]) -> list[Tensor] | None:
    """The results of a primitive of constants, if they are no large ones."""
    if eqn.primitive.name in ("broadcast_in_dim", "iota", "reshape", "transpose"):
        return None  # which take no work
    outs = [out.aval for out in eqn.outvars]
    if not inputs or any(getattr(x, "constant", None) is None for x in inputs):
        return None
    if not all(isinstance(dim, int) for aval in outs for dim in aval.shape):
        return None
    count = sum(aval.size * aval.dtype.itemsize for aval in outs)
    if count > max(FOLDED, 2 * sum(x.constant.nbytes for x in inputs)):
        return None
    arrays = [np.broadcast_to(x.constant, x.shape) for x in inputs]
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        results = eqn.primitive.bind(*map(jax.numpy.asarray, arrays), **eqn.params)
    results = results if eqn.primitive.multiple_results else [results]
    return [constant(np.asarray(r), a) for r, a in zip(results, outs, strict=True)]


def add_scan(graph: Graph, eqn: Any, inputs: list[Any]) -> list[Any]:
    """`scan` as ONNX's Scan, of which the body sees what is around it; once in line."""
    params = eqn.params
    closed, length = params["jaxpr"], params["length"]
    num_constants, num_carried = params["num_consts"], params["num_carry"]
    outer = inputs[:num_constants]
    start = inputs[num_constants : num_constants + num_carried]
    rows = inputs[num_constants + num_carried :]
    if isinstance(length, int) and length == 1:
        return _once(graph, eqn, outer, start, rows)
    body = Graph(graph)
    carried = [_declare(body, x.shape, x.dtype) for x in start]
    row_values = [_declare(body, x.shape[1:], x.dtype) for x in rows]
    arguments = [*outer, *carried, *row_values]
    results = add_jaxpr(body, closed.jaxpr, closed.consts, arguments)
    # A result of a body is one of its own nodes, also where it is a constant.
    named = [body.node("Identity", [body.full_name(x)])[0] for x in results]
    given = [(body.name(x), x.dtype, x.shape) for x in (*carried, *row_values)]
    declared = [(n, x.dtype, x.shape) for n, x in zip(named, results, strict=True)]
    name = graph.new_name("body")
    turned: dict[str, Any] = {}
    if params["reverse"]:
        ends = {"input": len(rows), "output": len(named) - num_carried}
        turned = {f"scan_{end}_directions": [1] * n for end, n in ends.items() if n}
    found = graph.node(
        "Scan",
        [graph.full_name(x) for x in (*start, *rows)],
        len(named),
        body=body.to_proto(name, given, declared),
        num_scan_inputs=len(rows),
        **turned,
    )
    avals = [out.aval for out in eqn.outvars]
    return [
        Tensor(aval.shape, np.dtype(aval.dtype), x)
        for x, aval in zip(found, avals, strict=True)
    ]


def _once(
    graph: Graph, eqn: Any, outer: list[Any], start: list[Any], rows: list[Any]
) -> list[Any]:
    """A loop of one turn."""
    closed, num_carried = eqn.params["jaxpr"], eqn.params["num_carry"]
    first = [shapes.to_shape(graph, x, x.shape[1:]) for x in rows]
    arguments = [*outer, *start, *first]
    results = add_jaxpr(graph, closed.jaxpr, closed.consts, arguments)
    return results[:num_carried] + [
        shapes.to_shape(graph, x, (1, *x.shape)) for x in results[num_carried:]
    ]


def _declare(graph: Graph, shape: Shape, dtype: Any) -> Tensor:
    """An input of a body."""
    element_type(dtype)
    return Tensor(shape, np.dtype(dtype), graph.new_name("given"))
