from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.training import optim


def by_documentation(rule, weights, gradients, rate, decay, factors=None):
    """Steps of `rule` as its library documents them, NumPy, float64; returns weights.

    Args:
        factors: of the rate, per step; default 1.
    """
    w = np.array(weights, float)
    m = v = np.zeros_like(w)
    b1, b2, epsilon, rho = rule[1:]
    factors, steps = factors or [1.0] * len(gradients), []
    for t, (gradient, factor) in enumerate(zip(gradients, factors, strict=True), 1):
        lr, g = rate * factor, np.array(gradient, float)
        if not rule.optimiser.startswith("adamw"):
            g = g + decay * w
        if rule.optimiser == "adadelta":  # m averages squared steps
            v = rho * v + (1 - rho) * g**2
            step = np.sqrt(m + epsilon) / np.sqrt(v + epsilon) * g
            m = rho * m + (1 - rho) * step**2
            w = w - lr * step
        elif rule.optimiser == "adamax":
            m = b1 * m + (1 - b1) * g
            v = np.maximum(b2 * v, np.abs(g) + epsilon)
            w = w - lr / (1 - b1**t) * m / v
        else:
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g**2
            if rule.optimiser == "adamw":
                w = w * (1 - lr * decay)
            if rule.optimiser in ("adam", "adamw"):
                w = w - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon)
            else:
                alpha = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
                w = w - alpha * m / (np.sqrt(v) + epsilon)
            if rule.optimiser == "adamw_hf":
                w = w - lr * decay * w
        steps.append(w)
    return np.stack(steps)


def torch_adam(weights, gradients, rate, decay):
    return by_documentation(optim.ADAM, weights, gradients, rate, decay)


def run(transform, params, gradients):
    state, steps = transform.init(params), []
    update = jax.jit(transform.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        steps.append(params)
    return steps


def test_adam_equals_torch_over_five_steps():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=6).astype(np.float32)
    # gradients small enough for the decay to count
    gradients = 0.05 * rng.normal(size=(5, 6)).astype(np.float32)
    adam = optim.one_group(optim.ADAM, 1e-2, 0.1)
    found = run(adam, jnp.asarray(weights), jnp.asarray(gradients))
    expected = torch_adam(weights, gradients, 1e-2, 0.1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "optimiser", ["adam", "adamw", "adamw_hf", "adam_keras", "adamax"]
)
def test_bias_correction_is_exact(optimiser):
    """Under a constant gradient both corrected moments are constant: steps of 1."""
    adam = optim.one_group(optim.Rule(optimiser), rate=1.0, decay=0.0)
    state, update = adam.init(jnp.zeros(2)), jax.jit(adam.update)
    for _ in range(20):
        step, state = update(jnp.array([0.5, -3.0]), state, jnp.zeros(2))
        # float32 has 6e-8; 1 - 0.999 computed in float32 is off by 1e-5
        np.testing.assert_allclose(step, [-1, 1], rtol=2e-6)


def test_zero_gradient_still_moves_every_weight_by_the_rate():
    weights = jnp.array([1.0, -0.5, 0.01, 20.0])
    gradients = jnp.zeros((3, 4))
    found = run(optim.one_group(optim.ADAM, 1e-3, 1e-2), weights, gradients)
    expected = weights - 3e-3 * jnp.sign(weights)
    np.testing.assert_allclose(found[-1], expected, rtol=0, atol=2e-5)
    unmoved = run(optim.one_group(optim.ADAM, 1e-3, 0.0), weights, gradients)
    np.testing.assert_array_equal(unmoved[-1], weights)


PARAMS = {"slow": {"kernel": jnp.ones(3)}, "fast": {"kernel": jnp.ones(3)}}
GROUPS = {"slow": {"rate": 1e-4, "decay": 0.0}, "fast": {"rate": 1e-2, "decay": 0.0}}


def top(path):
    return path.split("/")[0]


def test_group_labels_name_every_path():
    params = {"a": {"b": {"kernel": 1.0}}, "c": 2.0}
    found = optim.group_labels(params, lambda path: path)
    assert found == {"a": {"b": {"kernel": "a/b/kernel"}}, "c": "c"}


def test_groups_get_their_rates_and_decays():
    groups = {**GROUPS, "slow": {"rate": 1e-4, "decay": 3.0}}
    gradients = [jax.tree.map(lambda p: 0.5 * p, PARAMS)] * 5
    found = run(optim.make_optimizer(groups, top), PARAMS, gradients)
    for name, group in groups.items():
        steps = np.stack([params[name]["kernel"] for params in found])
        expected = torch_adam(np.ones(3), [0.5] * 5, group["rate"], group["decay"])
        np.testing.assert_allclose(steps, expected, rtol=0, atol=1e-6)


RULES = [
    optim.Rule(),
    optim.Rule(beta1=0.5, beta2=0.98, epsilon=0.3),  # so that its place shows
    optim.Rule("adamw", epsilon=0.3),
    optim.Rule("adamw_hf", epsilon=0.3),
    optim.Rule("adam_keras", epsilon=0.3),
    optim.Rule("adamax", epsilon=0.3),
    optim.Rule("adadelta", rho=0.9, epsilon=1e-3),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.optimiser)
@pytest.mark.parametrize("schedule", [None, [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]])
def test_rules_follow_their_documentation(rule, schedule):
    """Two groups, six steps, decays that count; a schedule scales decays, too."""
    rng = np.random.default_rng(1)
    params = {name: {"kernel": rng.normal(size=4)} for name in (*GROUPS, "ice")}
    gradients = [
        jax.tree.map(lambda w: rng.normal(size=w.shape), params) for _ in range(6)
    ]
    groups = {
        "slow": {"rate": 0.03, "decay": 0.7},
        "fast": {"rate": 0.2, "decay": 0.1},
    }
    warm = schedule and optax.scale_by_schedule(optim.warmed_up(9, 2, decay=False))
    with jax.enable_x64(True):
        optimizer = optim.make_optimizer(
            groups,
            lambda path: "frozen" if top(path) == "ice" else top(path),
            schedule=warm,
            rule=rule,
        )
        found = run(optimizer, jax.tree.map(jnp.asarray, params), gradients)
    for name, group in groups.items():
        expected = by_documentation(
            rule,
            params[name]["kernel"],
            [gradient[name]["kernel"] for gradient in gradients],
            group["rate"],
            group["decay"],
            schedule,
        )
        steps = np.stack([params[name]["kernel"] for params in found])
        assert steps.dtype == np.float64
        np.testing.assert_allclose(steps, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found[-1]["ice"]["kernel"], params["ice"]["kernel"])


@pytest.mark.parametrize("optimiser", ["adam_keras", "adamw_hf", "adamax", "adadelta"])
def test_rules_keep_the_digits_of_float32(optimiser):
    """The first step's only loss is rounding, of few operations."""
    rng = np.random.default_rng(2)
    gradient = rng.normal(size=64).astype(np.float32)
    rule = optim.Rule(optimiser, beta1=0.99)
    (found,) = run(
        optim.one_group(rule, 1.0, 0.0), jnp.zeros(64), [jnp.asarray(gradient)]
    )
    expected = by_documentation(rule, np.zeros(64), [gradient], 1.0, 0.0)[0]
    np.testing.assert_allclose(found, expected, rtol=3e-7)


def test_the_configuration_names_the_rule():
    chosen = options(optimiser="adadelta", rho=0.9, beta1=0.8, beta2=0.7, epsilon=0.1)
    assert optim.rule_of(chosen) == ("adadelta", 0.8, 0.7, 0.1, 0.9)
    assert optim.rule_of(options()) == optim.ADAM


def test_frozen_parameters_never_move():
    def group(path):
        return "frozen" if path.startswith("slow") else "fast"

    gradients = [jax.tree.map(lambda p: 5 * p, PARAMS)] * 3
    found = run(
        optim.make_optimizer({"fast": GROUPS["fast"]}, group), PARAMS, gradients
    )
    np.testing.assert_array_equal(found[-1]["slow"]["kernel"], np.ones(3))
    assert (found[-1]["fast"]["kernel"] < 0.98).all()


def test_a_missing_group_is_named():
    optimizer = optim.make_optimizer({"slow": GROUPS["slow"]}, top)
    with pytest.raises(UserError, match=r"no group 'fast'.*\['fast', 'slow'\]"):
        optimizer.init(PARAMS)


def test_clipping_bounds_the_joint_norm_before_decay():
    """torch.nn.utils.clip_grad_norm_: all by limit / (norm + 1e-6), if that is < 1."""
    groups = {name: {"rate": 1e-2, "decay": 0.1} for name in ("slow", "fast")}
    adam = optim.make_optimizer(groups, top, clip_norm=1.0)
    gradient = {"slow": [3.0, 0.0, 0.0], "fast": [0.0, 4.0, 0.0]}
    gradient = {k: {"kernel": jnp.array(v)} for k, v in gradient.items()}
    half = jax.tree.map(lambda g: 0.1 * g, gradient)  # norm .5: stays as it is
    found = run(adam, PARAMS, [gradient, half])
    for name in groups:
        clipped = [np.asarray(gradient[name]["kernel"]) / (5 + 1e-6), half[name]]
        clipped[1] = np.asarray(clipped[1]["kernel"])
        expected = torch_adam(np.ones(3), clipped, 1e-2, 0.1)
        steps = np.stack([params[name]["kernel"] for params in found])
        np.testing.assert_allclose(steps, expected, rtol=0, atol=1e-6)


def test_a_tiny_limit_shows_torchs_epsilon():
    """Norm 3e-6, limit 2e-6: 2 / (3 + 1)."""
    clip = optim.clip_by_norm(2e-6)
    found: Any
    found, _ = clip.update(jnp.array([0.0, 3e-6]), clip.init(jnp.zeros(2)))
    np.testing.assert_allclose(found, [0, 1.5e-6], rtol=1e-5)


def test_frozen_parameters_do_not_count_for_the_norm():
    def group(path):
        return "frozen" if path.startswith("slow") else "fast"

    groups = {"fast": {"rate": 1.0, "decay": 0.0}}
    adam = optim.make_optimizer(groups, group, clip_norm=1.0)
    gradient = {"slow": {"kernel": jnp.full(3, 1e3)}, "fast": {"kernel": jnp.ones(3)}}
    _, state = adam.update(gradient, adam.init(PARAMS), PARAMS)
    moments = jax.tree.leaves(state, is_leaf=lambda x: hasattr(x, "mu"))
    (mu,) = [x.mu["fast"]["kernel"] for x in moments if hasattr(x, "mu")]
    np.testing.assert_allclose(mu, 0.1 / np.sqrt(3) * np.ones(3), rtol=1e-5)


# ReduceLROnPlateau(patience=1, factor=.1), worked by hand: (loss, scale afterwards).
# Better is below .9999 of the best; bad epochs 1, then 2 > 1: lower, count anew.
PLATEAU = [
    (1.0, 1.0),  # best 1
    (0.99995, 1.0),  # not below .9999: bad 1
    (0.99992, 0.1),  # not below .9999 of 1 either: bad 2, lowered, bad 0
    (0.5, 0.1),  # best .5
    (0.6, 0.1),  # bad 1
    (float("nan"), 0.01),  # bad 2: lowered, bad 0
    (0.7, 0.01),  # bad 1
    (0.49, 0.01),  # best .49
    (0.49, 0.01),  # bad 1
    (0.48, 0.01),  # best .48
    (0.49, 0.01),  # bad 1
]


def test_plateau_follows_torchs_rule():
    groups = {"fast": {"rate": 1.0, "decay": 0.0}, "slow": GROUPS["slow"]}
    schedule = optim.scale_on_plateau(1, 0.1)
    adam = optim.make_optimizer(groups, top, schedule=schedule)
    params = {"fast": {"kernel": jnp.ones(2)}}
    gradient = jax.tree.map(jnp.ones_like, params)
    state = jax.jit(adam.init)(params)
    update, after = jax.jit(adam.update), jax.jit(optim.after_epoch)
    for loss, scale in PLATEAU:
        state = after(state, jnp.float32(loss))
        step, state = update(gradient, state, params)
        # Adam's step under a constant gradient is the rate.
        np.testing.assert_allclose(step["fast"]["kernel"], -scale, rtol=1e-5)


def test_after_epoch_leaves_other_optimisers_alone():
    state = optim.make_optimizer(GROUPS, top, clip_norm=1.0).init(PARAMS)
    after = optim.after_epoch(state, jnp.float32(1))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, after, state)


def options(**changed):
    c = PAPERS["self_mm"].config().optim
    c.update(changed)
    return c


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("linear", [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0, 0]),
        ("constant", [0, 0.5] + [1] * 10),
        # 5 epochs of 2 steps, the first of them warm-up: 4 quarters of half a cosine
        ("cosine", [0, 0, 1, 1, 1, 1] + [0.5 + 0.5**1.5] * 2 + [0.5] * 2),
    ],
)
def test_rates_warm_up_and_decay(schedule, expected):
    """10 steps, a fifth of them warm-up; one step beyond the last stays at 0."""
    chosen = options(schedule=schedule, warmup_share=0.2)
    adam = optim.make_optimizer(
        {"fast": {"rate": 1.0, "decay": 0.0}},
        lambda path: "fast",
        schedule=optim.make_schedule(chosen, 10, 5),
    )
    found = run(adam, jnp.zeros(1), [jnp.ones(1)] * len(expected))
    steps = -np.diff(np.concatenate([[0], np.concatenate(found)]))
    np.testing.assert_allclose(steps, expected, rtol=0, atol=1e-5)


def test_a_cosine_without_warm_up_starts_at_the_whole_rate():
    """As torch's CosineAnnealingLR(T_max=epochs)."""
    factor = optim.cosine(3, 0, 1)
    np.testing.assert_allclose(factor(np.arange(3)), [1, 0.75, 0.25], rtol=1e-6)


def test_almt_rates_follow_its_code(shared):
    """Rates of base 1e-4 per epoch, beyond the last epoch, too (they rise again)."""
    z = np.load(shared / "goldens" / "almt.npz")
    for epochs in (20, 200):
        rates = z[f"main/unit/schedule/lr_{epochs}_epochs"]
        with jax.enable_x64(True):
            factor = optim.cosine(epochs, 0.1 * epochs, 3)
            found = 1e-4 * factor(3 * np.arange(len(rates)) + 2)
        np.testing.assert_allclose(found, rates, rtol=0, atol=1e-18)


def reference_rates(z, case):
    """Return (rate of every optimiser step, epoch it was made in) of a reference.

    Of several groups the last, which steps under the schedule.
    """
    rates = z[f"{case}/steps/rate"]
    rates = rates.reshape(len(rates), -1)[:, -1]
    at = f"{case}/steps/at"
    last_batch = z[at] - 1 if at in z else np.arange(len(rates))
    stepped = ~np.isnan(rates)
    return rates[stepped], z[f"{case}/steps/epoch"][last_batch][stepped]


@pytest.mark.parametrize(
    "file, case, base, factor",
    [
        # 20 epochs of two steps; six steps, a quarter of them warm-up, not rounded.
        ("almt", "main", 2e-3, lambda: optim.cosine(20, 2.0, 2)),
        ("mag_bert", "original", 1e-3, lambda: optim.warmed_up(6, 1.5, decay=True)),
    ],
)
def test_scheduled_rates_of_references(shared, file, case, base, factor):
    rates, _ = reference_rates(np.load(shared / "goldens" / f"{file}.npz"), case)
    with jax.enable_x64(True):
        found = base * factor()(np.arange(len(rates)))
    np.testing.assert_allclose(found, rates, rtol=0, atol=1e-17)


@pytest.mark.parametrize(
    "file, case, losses",
    [
        ("mult", "main", "scripted_valid_loss"),
        ("mult__orig", "main", "valid_loss"),
        ("mmim", "alternating", "scripted_valid_loss"),
        ("tfr_net__train", "main", "scripted_valid_loss"),
    ],
)
def test_plateau_rates_of_references(shared, file, case, losses):
    z = np.load(shared / "goldens" / f"{file}.npz")
    rates, epochs = reference_rates(z, case)
    scales = []
    with jax.enable_x64(True):
        rule = int(z["hp/plateau_patience"]), float(z["hp/plateau_factor"])
        state = optim.scale_on_plateau(*rule).init(jnp.zeros(1))
        for loss in z[f"{case}/steps/{losses}"]:
            scales.append(float(state.scale))
            state = optim.after_epoch(state, jnp.asarray(loss))
    assert len({*scales}) > 1
    found = rates[0] * np.array(scales)[epochs - 1]
    np.testing.assert_allclose(found, rates, rtol=1e-12)


def test_a_constant_rate_needs_no_schedule():
    assert optim.make_schedule(options(), 100, 10) is None
    assert optim.make_schedule(options(schedule="linear"), 100, 10) is not None
