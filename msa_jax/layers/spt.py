"""The sparse phased transformer: three sequences compressed, crossed and refined."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray

from msa_jax.config.fields import Letters, Share, Size, Weight
from msa_jax.ground.names import MODALITIES
from msa_jax.layers import channels, window_attention, windows
from msa_jax.layers.channels import Attention, Drop, FeedForward, normalise, project
from msa_jax.layers.dense import product
from msa_jax.layers.windows import Sampling

# Every pair is attended in both directions with one set of weights.
PAIRS = (("audio", "text"), ("text", "vision"), ("vision", "audio"))
Sequences = dict[str, Float[Array, "c _ b"]]
Lengths = dict[str, Int[Array, " b"]]


class Readings(NamedTuple):
    """Sizes and samplings of the transformer.

    embed: channels of the hidden states; a multiple of heads.
    rounds: how often input, cross and self attention run, with the same weights.
    stride: input steps per hidden step.
    *_radius, *_letters, step_shift, phase_rate, random_share: how each kind of
        attention samples its keys, see `windows.Sampling`.
    attention_dropout: the public code declares one and never passes it on.
    dense: masked attention over all keys instead of windows; ignores shifts.
    respect_lengths: windows wrap at, and the final state is taken from, each sample's
        own length; published: the padded length.

    Source: SUGRM's and SP-Transformer's code, MOSI. Its published setting lists the
        letters of input attention as one string, which matches no letter: no shift.
    """

    embed: Size = 32
    heads: Annotated[Size, "MOSEI: 4"] = 8
    rounds: Size = 4
    stride: Annotated[Size, "input steps per hidden step"] = 5
    input_radius: Annotated[Size, "windows hold 2 radius + 1 keys"] = 8
    cross_radius: Size = 4
    self_radius: Size = 3
    input_letters: Annotated[str, Letters("SPR"), "meant: SPR"] = ""
    cross_letters: Annotated[str, Letters("SPR")] = "S"
    self_letters: Annotated[str, Letters("SPR")] = "S"
    step_shift: Annotated[Size, "of letter S"] = 1
    phase_rate: Annotated[Weight, "of letter P"] = 0.25
    random_share: Annotated[Weight, "of letter R"] = 0.05
    attention_dropout: Annotated[Share, "paper, Table 7: .3; the code: none"] = 0.0
    relu_dropout: Share = 0.3
    residual_dropout: Share = 0.3
    embed_dropout: Share = 0.3
    dense: Annotated[bool, "masks over all keys instead of windows; no shifts"] = False
    respect_lengths: Annotated[bool, "windows and final state end at lengths"] = False

    @property
    def input(self) -> Sampling:
        """How hidden states sample a modality's inputs."""
        return self._sampling(self.stride, self.input_radius, self.input_letters)

    @property
    def cross(self) -> Sampling:
        """How they sample another modality's hidden states."""
        return self._sampling(1, self.cross_radius, self.cross_letters)

    @property
    def own(self) -> Sampling:
        """How they sample their own."""
        return self._sampling(1, self.self_radius, self.self_letters)

    def _sampling(self, stride: int, radius: int, letters: str) -> Sampling:
        shifts = self.step_shift, self.phase_rate, self.random_share
        return Sampling(stride, radius, letters, *shifts)


class Blocks(NamedTuple):
    """Attention and feed-forward weights of one kind, by modality or pair."""

    attention: dict[str, Attention]
    forward: dict[str, FeedForward]


class Context(NamedTuple):
    """Projected keys and values of one attention.

    length: windows wrap at it, per sample; None: at the padded length.
    """

    key: Float[Array, "c t b"]
    value: Float[Array, "c t b"]
    length: Int[Array, " b"] | None


class Setting(NamedTuple):
    """What all attentions of one round share.

    shifts: per kind of attention with letters, of each modality's queries.
    """

    readings: Readings
    drop: Drop
    shifts: dict[str, dict[str, Array]]

    def shift(self, kind: str, modality: str) -> int | Array:
        """Return the shift of a modality's queries; 0 without letters."""
        return self.shifts[kind][modality] if kind in self.shifts else 0


class SparsePhasedTransformer(nn.Module):
    """Text, audio and vision sequences to one vector each.

    Every round runs input attention (hidden states read the inputs), cross attention
    (each modality reads both others; the two results, each with its residual, are
    summed) and self attention, with the same weights in all rounds: one scan, its
    shifts being data. Keys and values are normalised and projected once per position
    of the context (the original does so once per window entry, with the same result),
    those of input attention once for all rounds.

    Source: SP-Transformer's code (Cheng et al., EMNLP 2021), as used by SUGRM, 3.2.1.
    """

    readings: Readings

    @nn.compact
    def __call__(
        self,
        inputs: dict[str, Float[Array, "b _ _"]],
        lengths: Lengths,
        *,
        train: bool,
        random_shifts: dict[str, Int[Array, "l _"]] | None = None,
    ) -> dict[str, Float[Array, "b c"]]:
        """Return each modality's final state.

        Args:
            inputs: per modality; widths may differ.
            lengths: valid steps, at least 1; read only with `respect_lengths`.
            train: apply dropout, drawn from the "dropout" stream.
            random_shifts: letter R's draws of input attention, for replays. Without,
                they come from the "dropout" stream, in evaluation from a fixed key.
        """
        r = self.readings
        start = channels.uniform((6 / (len(MODALITIES) + r.embed)) ** 0.5)
        first = self.param("start", start, (len(MODALITIES), r.embed))
        widths = {m: inputs[m].shape[2] for m in MODALITIES}
        pairs = {f"{a}_{b}": r.embed for a, b in PAIRS}
        blocks = {
            "input": _blocks("input", r.embed, widths),
            "cross": _blocks("cross", r.embed, pairs),
            "self": _blocks("self", r.embed, dict.fromkeys(MODALITIES, r.embed)),
        }
        final = channels.Weights({}, {"norm": r.embed}, name="final")()["norm"]
        keys = jax.random.split(
            self.make_rng("dropout") if train else jax.random.key(0), r.rounds + 2
        )
        steps = {m: inputs[m].shape[1] for m in MODALITIES}
        hidden = {m: -(-steps[m] // r.input.stride) for m in MODALITIES}
        wraps = {m: -(-lengths[m] // r.input.stride) for m in MODALITIES}

        def begin(drop):
            context, states = {}, {}
            for row, m in enumerate(MODALITIES):
                x = _coded(inputs[m] * np.sqrt(r.embed), drop, r)
                own = lengths[m] if r.respect_lengths else None
                context[m] = Context(*_read_input(x, blocks["input"].attention[m]), own)
                state = first[row].astype(x.dtype)[None, None] * np.sqrt(r.embed)
                state = jnp.broadcast_to(state, (x.shape[2], hidden[m], r.embed))
                states[m] = _coded(state, drop, r)
            return context, states

        def one_round(states, changing):
            key, shifts = changing

            def run(drop):
                setting = Setting(r, drop, shifts)
                limits = wraps if r.respect_lengths else dict.fromkeys(MODALITIES)
                done = _input_round(states, context, blocks["input"], setting)
                done = _cross_round(done, limits, blocks["cross"], setting)
                return _self_round(done, limits, blocks["self"], setting)

            return channels.dropping(run, key if train else None), None

        context, states = channels.dropping(begin, keys[0] if train else None)
        sizes = (lengths if r.respect_lengths else steps, hidden)
        shifts = _shifts(r, *sizes, keys[1], random_shifts)
        states, _ = jax.lax.scan(one_round, states, (keys[2:], shifts))
        last = {}
        for m in MODALITIES:
            normed = normalise(states[m]) * final.kernel[:, None, None]
            normed = normed + final.bias[:, None, None]
            self.sow("intermediates", f"states_{m}", normed)
            if r.respect_lengths:
                index = wraps[m][None, None] - 1
                last[m] = jnp.take_along_axis(normed, index, axis=1)[:, 0].T
            else:
                last[m] = normed[:, -1].T
        return last


def _blocks(kind: str, embed: int, contexts: dict[str, int]) -> Blocks:
    """Create one kind's weights in the calling module."""
    attention, forward = {}, {}
    for name, width in contexts.items():
        attention[name] = channels.attention_weights(embed, width, f"{kind}_{name}")
        forward[name] = channels.feed_forward_weights(embed, f"{kind}_{name}_forward")
    return Blocks(attention, forward)


def _coded(x: Float[Array, "b t d"], drop: Drop, r: Readings) -> Float[Array, "d t b"]:
    # Turned before entries are dropped: few channels as the last axis of what is drawn
    # would be padded to 128 lanes on a TPU.
    x = jnp.transpose(x + channels.position_code(x), (2, 1, 0))
    return drop(channels.laid_out(x), r.embed_dropout)


def _shifts(
    r: Readings,
    steps: dict[str, int] | Lengths,
    hidden: dict[str, int],
    key: PRNGKeyArray,
    drawn: dict[str, Int[Array, "l _"]] | None,
) -> dict[str, dict[str, Array]]:
    """Return the shifts [l], [l, q] or [l, q, b] of the kinds that have letters."""
    found = {}
    kinds = {"input": r.input, "cross": r.cross, "self": r.own}
    for kind, sampling in kinds.items():
        if not sampling.letters:
            continue
        found[kind] = {}
        for m in MODALITIES:
            shift = jnp.zeros(r.rounds, jnp.int32)
            if "S" in sampling.letters:
                shift = shift + sampling.step_shift * jnp.arange(r.rounds)
            if "P" in sampling.letters:
                wave = windows.phase(steps[m], hidden[m], sampling)
                shift = shift.reshape(-1, *[1] * wave.ndim) + wave[None]
            if "R" in sampling.letters:
                if kind == "input" and drawn is not None:
                    random = drawn[m]
                else:
                    # The public code divides vision by the text's hidden length.
                    divisor = hidden["text" if m == "vision" else m]
                    limit = windows.random_limit(steps[m], divisor, sampling)
                    key, mine = jax.random.split(key)
                    random = jax.random.randint(mine, (r.rounds, hidden[m]), 0, limit)
                axes = range(2, shift.ndim)
                shift = shift.reshape(r.rounds, -1, *shift.shape[2:])
                shift = shift + jnp.expand_dims(random, tuple(axes))
            found[kind][m] = shift
    return found


def _read_input(
    x: Float[Array, "d t b"], weights: Attention
) -> tuple[Float[Array, "c t b"], Float[Array, "c t b"]]:
    """Return keys and values of an input sequence, in one product."""
    key = channels.folded(weights.key, weights.context_norm)
    value = channels.folded(weights.value, weights.context_norm)
    kernel = jnp.concatenate([key.kernel, value.kernel], axis=1)
    bias = jnp.concatenate([key.bias, value.bias])
    both = product(normalise(x), kernel, 0)
    first, second = jnp.split(both + bias[:, None, None], 2)
    return first, second


def _attend(
    z: Float[Array, "c q b"],
    context: Context,
    weights: Attention,
    setting: Setting,
    sampling: Sampling,
    shift: int | Array,
    *,
    swapped: bool = False,
) -> Float[Array, "c q b"]:
    """Attend from normalised states z to a context; without the residual."""
    r, count = setting.readings, z.shape[1]
    mixed: Any  # custom_vjp hides the type
    query = project(z, weights.key if swapped else weights.query, weights.query_norm)
    if r.dense:
        seen = jnp.asarray(windows.dense_mask(count, context.key.shape[1], sampling))
        mixed = channels.attend_all(
            query,
            context.key,
            context.value,
            r.heads,
            lambda weight: setting.drop(weight, r.attention_dropout),
            seen,
        )
    else:
        kind = window_attention.Kind(r.heads, sampling)
        keep = None
        if r.attention_dropout:
            shape = window_attention.weight_shape(kind, query, shift, context.length)
            keep = setting.drop(jnp.ones(shape, z.dtype), r.attention_dropout)
        mixed = window_attention.attend(
            kind, query, context.key, context.value, shift, context.length, keep
        )
    return setting.drop(project(mixed, weights.output), r.residual_dropout)


def _forward(x: Array, weights: FeedForward, setting: Setting) -> Array:
    r = setting.readings
    rates = (r.relu_dropout, r.residual_dropout)
    return channels.feed_forward(x, weights, setting.drop, *rates)


def _input_round(
    states: Sequences, context: dict[str, Context], blocks: Blocks, setting: Setting
) -> Sequences:
    done = {}
    for m in MODALITIES:
        mixed = _attend(
            normalise(states[m]),
            context[m],
            blocks.attention[m],
            setting,
            setting.readings.input,
            setting.shift("input", m),
        )
        done[m] = _forward(states[m] + mixed, blocks.forward[m], setting)
    return done


def _cross_round(
    states: Sequences, limits: dict, blocks: Blocks, setting: Setting
) -> Sequences:
    """Let every modality read both others; sum its two results.

    In a pair's second direction query and key projection change roles; value, output
    and norms do not.
    """
    z = {m: normalise(states[m]) for m in MODALITIES}
    sums = {m: [] for m in MODALITIES}
    for a, b in PAIRS:
        weights, forward = blocks.attention[f"{a}_{b}"], blocks.forward[f"{a}_{b}"]
        mixed = []
        for query, context, swapped in ((a, b, False), (b, a, True)):
            key = weights.query if swapped else weights.key
            keys = Context(
                project(z[context], key, weights.context_norm),
                project(z[context], weights.value, weights.context_norm),
                limits[context],
            )
            out = _attend(
                z[query],
                keys,
                weights,
                setting,
                setting.readings.cross,
                setting.shift("cross", query),
                swapped=swapped,
            )
            mixed.append(states[query] + out)
        # Both directions share the block: one product over both sequences.
        both = _forward(jnp.concatenate(mixed, axis=1), forward, setting)
        first, second = jnp.split(both, [mixed[0].shape[1]], axis=1)
        sums[a].append(first)
        sums[b].append(second)
    return {m: sum(parts[1:], parts[0]) for m, parts in sums.items()}


def _self_round(
    states: Sequences, limits: dict, blocks: Blocks, setting: Setting
) -> Sequences:
    done = {}
    for m in MODALITIES:
        weights, z = blocks.attention[m], normalise(states[m])
        # Keys are the normalised queries: `context_norm` is never used here.
        keys = Context(
            project(z, weights.key, weights.query_norm),
            project(z, weights.value, weights.query_norm),
            limits[m],
        )
        own, shift = setting.readings.own, setting.shift("self", m)
        mixed = _attend(z, keys, weights, setting, own, shift)
        done[m] = _forward(states[m] + mixed, blocks.forward[m], setting)
    return done


def is_unused(path: str) -> bool:
    """Say whether a parameter path is the norm that self attention never uses."""
    parts = path.split("/")
    return any(p.startswith("self_") for p in parts) and "context_norm" in parts[-1]
