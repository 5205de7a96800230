"""Operations of a program, from what jax traced: nothing is compiled, nothing runs.

Counted are the multiplications and additions of matrix products and convolutions, two
for each pair of numbers. Element-wise work is not, nor sums, norms and softmax. Arrays
count with their padding, and what a backward pass computes again counts again.
"""

import math
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.interpreters.partial_eval import dce_jaxpr

from msa_jax.training.memory import taken


def count(program: ClosedJaxpr, platform: str) -> float:
    """Return the operations of one run; what nothing reads is left out.

    Of branches the largest counts; a loop whose trips depend on data runs as often as
    what it reads slice by slice has slices, else once.

    Args:
        program: from `jax.make_jaxpr(function)(...)`, or the `jaxpr` of a traced jit.
        platform: whose branch counts where they differ by it: "cpu", "cuda", "tpu".
    """
    needed, _ = dce_jaxpr(program.jaxpr, True)
    return _count(needed, platform)


def _count(program: Jaxpr, platform: str) -> float:
    return sum(_of_step(step, platform) for step in program.eqns)


def _of_step(step: Any, platform: str) -> float:
    name, params = step.primitive.name, step.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        summed = math.prod(step.invars[0].aval.shape[axis] for axis in contracted)
        return 2.0 * summed * step.outvars[0].aval.size
    if name == "conv_general_dilated":
        kernel = step.invars[1].aval
        summed = kernel.size // kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        # Zeros between the rows of a strided convolution's gradient are not work.
        spread = math.prod(params["lhs_dilation"])
        return 2.0 * summed * step.outvars[0].aval.size / spread
    inside = [_count(part, platform) for part in taken(step, platform)]
    if name == "cond":
        return max(inside)
    if name == "scan":
        return params["length"] * sum(inside)
    if name == "while":
        return _most_trips(params["body_jaxpr"].jaxpr) * sum(inside)
    return sum(inside)


def _most_trips(body: Jaxpr) -> int:
    """Return how many slices there are of what a loop's body reads a slice of."""
    slices = [1]
    steps: list[Any] = body.eqns
    for step in steps:
        name, shapes = step.primitive.name, [x.aval.shape for x in step.invars]
        # Side by side (vmap) a slice is a gather of one index.
        one = name == "dynamic_slice" or (name == "gather" and len(shapes[1]) == 1)
        if one and step.invars[0] in body.invars:
            sizes = zip(shapes[0], step.params["slice_sizes"], strict=True)
            slices += [whole // part for whole, part in sizes]
    return max(slices)
