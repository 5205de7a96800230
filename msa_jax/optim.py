"""Adam with coupled L2 and a rate per parameter group."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import optax

from msa_jax.errors import UserError
from msa_jax.types import PyTree


def group_labels(params: PyTree, group: Callable[[str], str]) -> PyTree:
    """Name every parameter's group, from its path ("a/b/kernel")."""

    def name(path, _):
        return group(jax.tree_util.keystr(path, simple=True, separator="/"))

    return jax.tree_util.tree_map_with_path(name, params)


def adam_coupled_l2(rate: float, decay: float) -> optax.GradientTransformation:
    """Adam whose decay is added to the gradient *before* the moments.

    With a zero gradient the normalised decay still moves every weight by about `rate`
    per step towards 0: that is what happens to Self-MM's unimodal heads while their
    loss weight is 0. AdamW would not do this.

    Source: torch.optim.Adam(weight_decay=...), betas .9 and .999, epsilon 1e-8.
    """
    return optax.chain(
        optax.add_decayed_weights(decay),
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
        optax.scale_by_learning_rate(rate),
    )


def make_optimizer(
    groups: Mapping[str, Any], group: Callable[[str], str]
) -> optax.GradientTransformation:
    """Build one Adam per group of `config.optim.groups`.

    Args:
        groups: name -> mapping with `rate` and `decay`.
        group: parameter path -> name; "frozen" parameters never change.

    Raises:
        UserError: a parameter's group is not in `groups`.
    """

    def labels(params):
        named = group_labels(params, group)
        missing = set(jax.tree.leaves(named)) - set(groups) - {"frozen"}
        if missing:
            raise UserError(
                f"config.optim.groups: no group {sorted(missing)[0]!r}; the method "
                f"needs {sorted(set(jax.tree.leaves(named)))}"
            )
        return named

    transforms: dict[Hashable, optax.GradientTransformation] = {
        name: adam_coupled_l2(g["rate"], g["decay"]) for name, g in groups.items()
    }
    transforms["frozen"] = optax.set_to_zero()
    return optax.multi_transform(transforms, labels)
