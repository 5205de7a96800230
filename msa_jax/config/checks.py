"""What no run can use, whatever its method, and no single field's annotation says."""

from typing import Any

from msa_jax.ground.errors import UserError


def check(settings: Any) -> None:
    """Refuse combinations of fields that no run can use.

    Raises:
        UserError: naming the fields, their values and what they may be.
    """
    if settings.data.aligned and settings.data.padding == "front":
        raise UserError(
            "config.data.padding = 'front' and config.data.aligned = True exclude each "
            "other: aligned lengths count from the first step; change one of them"
        )
    if settings.text.remat and settings.text.implementation != "own":
        raise UserError(
            "config.text.remat needs our BERT: use --config.text.implementation=own"
        )
    seeds = settings.seeds
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise UserError(
            f"config.seeds = {seeds!r}: give one or more different numbers from 0 up, "
            "for example --config.seeds=1111,1112,1113"
        )
    if (group := settings.mesh.seeds_at_once) and len(seeds) % group:
        raise UserError(
            f"config.mesh.seeds_at_once = {group} does not divide {len(seeds)} seeds"
        )
    for name, adam in settings.optim.groups.items():
        if not adam.rate > 0 or not adam.decay >= 0:
            raise UserError(
                f"config.optim.groups.{name}: rate {adam.rate} must be above 0 and "
                f"decay {adam.decay} at least 0 (freeze BERT with text.finetune)"
            )
    optim = settings.optim
    if optim.warmup_share and optim.schedule == "plateau":
        raise UserError(
            f"config.optim.warmup_share = {optim.warmup_share!r}: rates warm up under "
            "schedule constant, linear or cosine, not under plateau; set one of them"
        )


def divisible(settings: Any, width: str, by: str, *, times: int = 1) -> None:
    """Refuse a width that attention heads do not divide.

    Args:
        settings: the configuration.
        width: dotted field, "spt.embed".
        by: dotted field, "spt.heads".
        times: how many times the width counts.

    Raises:
        UserError: they do not divide.
    """
    wide, heads = (_value(settings, path) for path in (width, by))
    if wide * times % heads:
        named = f"{width} x {times}" if times > 1 else width
        raise UserError(
            f"config.{named} = {wide * times}: must be a multiple of config.{by} = "
            f"{heads}"
        )


def _value(settings: Any, path: str) -> Any:
    section, name = path.split(".")
    return settings[section][name]
