"""Multiply-adds of a traced program."""

import math


def multiply_adds(jaxpr, conditions=max):
    """Of all convolutions and matrix products; borders count as any pixel.

    conditions: of the numbers of the branches of a condition, the one that counts.
    """
    total = 0
    for eqn in jaxpr.eqns:
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        if eqn.primitive.name == "cond":
            branches = eqn.params["branches"]
            total += conditions(multiply_adds(b.jaxpr, conditions) for b in branches)
            continue
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):  # a function within
                total += times * multiply_adds(inner, conditions)
        if eqn.primitive.name == "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            outputs = eqn.params["dimension_numbers"].rhs_spec[0]
            each = math.prod(kernel) // kernel[outputs]
            total += eqn.outvars[0].aval.size * each
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            shape = eqn.invars[0].aval.shape
            total += eqn.outvars[0].aval.size * math.prod(shape[i] for i in contracted)
    return total
