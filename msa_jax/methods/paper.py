"""What a method is to the rest of the package: one value, `PAPER`, in its module.

From it follow the method's configuration, the checks of it, `--help`, what of it is an
input of the compiled program, and the names under which PyTorch stores its parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from msa_jax.config import checks, fields
from msa_jax.config.fields import Field, Traced
from msa_jax.config.sections import COMMON
from msa_jax.ground.errors import UserError, near
from msa_jax.ground.types import Method
from msa_jax.methods import groups, losses, tasks
from msa_jax.methods.mmsa_fields import Mmsa
from msa_jax.methods.torch_names import Names
from msa_jax.text import layout

Changes = Mapping[str, Any]  # dotted field -> value
PLAIN = "mosi_real"  # plain arrays and sentences, as a user's own data set has
# Text as BERT gives it, ready-made or frozen; scores rounded as MMSA's loop does.
FEATURES: dict[str, Any] = {
    "text.encoder": "features",
    "text.finetune": False,
    "selection.round_decimals": 4,
}
# What plain sentences and arrays need where a method reads frozen BERT's features.
PLAIN_TEXT: dict[str, Any] = {
    "data.standardise": "train",
    "text.encoder": "bert",
    "text.max_tokens": 40,
}
SANE = "sane"  # the variant that reads no padding, trains what is drawn, and so on
BERT = {"bert": (5e-5, 0.0), "bert_no_decay": (5e-5, 0.0)}  # biases, LayerNorm apart


@dataclass(frozen=True)
class Paper:
    """A method, as data.

    name: what `config.method` says, and the name of its card, configs/NAME.py.
    title: as tables print it.
    cite: authors, venue and year.
    make: (settings, text encoder, label range) -> the method that they describe.
    sections: section of the configuration -> the class or function whose annotations
        are its fields (`config.fields`); "model" is the network's, "loss" the loss's.
    rates: optimiser group -> (learning rate, coupled L2).
    data: data set -> what differs there; the first is the default. "mosei+v1": what
        differs there in variant v1.
    common: what differs from `config.sections` on every data set.
    variants: word -> what it changes: readings, and rows of the paper's tables.
    tasks: what it can answer, the choices of `config.task`.
    reads_padding: settings -> the one that makes it read padding behind a text, or "":
        then `text.layout` may leave it out.
    needs: settings -> part of a data set -> what to do where it is missing; beside the
        modalities that it reads and the labels of its task.
    check: refuses settings that annotations cannot.
    torch: names of its parameters in the public code's state dict.
    mmsa: what MMSA's configuration of it means here; MMSA's state dicts have the names
        of `torch`, then. None: nothing comes along from MMSA.
    parameters: words -> how many trained parameters the public network has behind
        ready-made text features, as published or counted there.
    selects_on: what validation's score is, where `Method.valid_error` says: for
        readers of results.
    vocabulary: names that reference arrays give its settings -> our fields, all of
        them, where they are not `config.<section>.<name>`.
    """

    name: str
    title: str
    cite: str
    make: Callable[[Any, nn.Module, tuple[float, float]], Method]
    sections: Mapping[str, Any]
    rates: Mapping[str, tuple[float, float]]
    data: Mapping[str, Changes]
    common: Changes = field(default_factory=dict)
    variants: Mapping[str, Changes] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("sentiment",)
    reads_padding: Callable[[Any], str] = lambda settings: ""
    needs: Callable[[Any], Mapping[str, str]] = lambda settings: {}
    check: Callable[[Any], None] = lambda settings: None
    torch: Names | None = None
    mmsa: Mmsa | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    selects_on: str = ""
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def fields(self) -> tuple[Field, ...]:
        """Return every field of its configuration."""
        declared = (*COMMON, *self.sections.items())
        every = [f for name, owner in declared for f in fields.of(owner, name)]
        for group, pair in self.rates.items():
            for name, value in zip(("rate", "decay"), pair, strict=True):
                path = f"optim.groups.{group}.{name}"
                every.append(
                    Field(path, float, value, False, (), (), Traced(), "of Adam")
                )
        return tuple(every)

    def datasets(self) -> tuple[str, ...]:
        """Return the data sets that it has values for."""
        return tuple(name for name in self.data if "+" not in name)

    def nearest(self, dataset: str) -> str:
        """Return the data set whose values another one takes: its own, or `PLAIN`'s."""
        own = self.datasets()
        return next((name for name in (dataset, PLAIN) if name in own), own[0])

    def config(self, words: str = "") -> ConfigDict:
        """Return a configuration.

        Args:
            words: a data set and variants, joined by "+": "mosei+no_scl"; "": the
                first data set, no variant.

        Raises:
            UserError: an unknown word, or two data sets.
        """
        given = [word for word in words.split("+") if word]
        datasets = [word for word in given if word in self.datasets()]
        variants = [word for word in given if word not in datasets]
        self._require_known(words, datasets, variants)
        dataset = datasets[0] if datasets else self.datasets()[0]
        config = fields.defaults(self.fields())
        config.method = self.name
        fields.change(config, self.common)
        config.data.name = dataset
        fields.change(config, self.data[dataset])
        for word in variants:
            fields.change(config, self.variants[word])
        for word in variants:
            fields.change(config, self.data.get(f"{dataset}+{word}", {}))
        return config

    def reading(self, settings: Any) -> list[str]:
        """Say which reading of the method a configuration is, a line each.

        First the variants whose every value it has; then, where `sane` is one, each of
        its fields: this configuration's value, what the field says, and whether that is
        the public code's way, which is a field's default.

        Args:
            settings: the configuration, nested.
        """
        known = {field.path: field for field in self.fields()}

        def same(changes: Changes) -> dict[str, bool]:
            # What JSON made a list was a tuple.
            return {
                path: _plain(fields.get(settings, path)) == _plain(wanted)
                for path, wanted in changes.items()
            }

        own = {
            word: {**changes, **self.data.get(f"{settings['data']['name']}+{word}", {})}
            for word, changes in self.variants.items()
        }
        held = [word for word, x in own.items() if x and all(same(x).values())]
        lines = [f"variants whose values these are: {', '.join(held)}"] if held else []
        for path, sane in same(self.variants.get(SANE, {})).items():
            value, other = fields.get(settings, path), self.variants[SANE][path]
            words = f" ({known[path].about})" if known[path].about else ""
            whose = "neither public nor sane"
            if sane or value == known[path].default:
                whose = "sane" if sane else "the public reading"
            other = "" if sane else f"; sane: {other}"
            lines.append(f"{path} = {value}{words}: {whose}{other}")
        return lines

    def refuse(self, settings: Any) -> None:
        """Refuse settings that no run can use.

        Raises:
            UserError: naming the field, its value and what it may be.
        """
        if settings.task not in self.tasks:
            listed = " or ".join(map(repr, self.tasks))
            raise UserError(
                f"config.task = {settings.task!r}: {self.name} answers {listed} only; "
                "the README's table says which methods answer what"
            )
        missing = set(self.config()) ^ set(settings)
        if missing:
            raise UserError(
                f"config.method = {self.name!r}: this configuration is another "
                f"method's ({', '.join(sorted(missing))}); use configs/{self.name}.py"
            )
        error = settings.loss.get("error", "l1")
        if settings.task != tasks.SENTIMENT.name and error != "l1":
            raise UserError(
                f"config.loss.error = {error!r} says nothing with config.task = "
                f"{settings.task!r}, which is learned by cross-entropy; leave it out"
            )
        fields.refuse(settings, self.fields())
        checks.check(settings)
        layout.check(settings, self.reads_padding(settings))
        self.check(settings)

    def is_traced(self, path: str, value: Any) -> bool:
        """Say whether a field with this value is an input of the compiled program.

        Args:
            path: dotted, "optim.groups.bert.rate".
            value: its value.
        """
        marks = {field.path: field.traced for field in self.fields()}
        mark = marks.get(path)
        if mark is None or not isinstance(value, int | float):
            return False
        return value != 0 or not mark.zero_is_constant

    def traced_values(self, settings: Any) -> dict[str, float]:
        """Return the value of every field that is an input of the program."""
        paths = [field.path for field in self.fields() if field.traced]
        values = {path: fields.get(settings, path) for path in paths}
        return {path: v for path, v in values.items() if self.is_traced(path, v)}

    def _require_known(self, words: str, datasets: list, variants: list) -> None:
        known = (*self.datasets(), *self.variants)
        for word in variants:
            if word not in self.variants:
                meant = near(word, known)
                raise UserError(
                    f"variant {words!r} of {self.name}: {word!r} is no data set that "
                    f"it has values for ({', '.join(self.datasets())}) and no variant "
                    f"({', '.join(self.variants) or 'none'}); join words with +{meant}"
                )
        if len(datasets) > 1:
            raise UserError(
                f"variant {words!r} of {self.name}: {' and '.join(datasets)} are two "
                "data sets; name one"
            )


def regression(
    network: Callable[..., nn.Module],
    group: Callable[..., str] = lambda network, path: groups.shared(path) or "other",
) -> Callable[[Any, nn.Module, tuple[float, float]], Method]:
    """Return the `Paper.make` of a network that learns an answer and nothing beside.

    Scores are learned by `losses.fusion`, other tasks' answers by their own loss.

    Args:
        network: (text encoder, every field of `config.model`) -> module; for other
            tasks than scores it also takes `outputs`, how many rows it answers.
        group: (module, parameter path) -> name of its optimiser group.
    """

    def make(settings, text_encoder, label_range):
        del label_range
        task, fields = tasks.make(settings.task), {**settings.model}
        loss = partial(losses.fusion, **{**settings.loss})
        if task.outputs > 1:
            fields["outputs"], loss = task.outputs, partial(tasks.loss, task=task)
        module = network(text_encoder, **fields)
        return Method(task, module, loss, partial(group, module))

    return make


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
