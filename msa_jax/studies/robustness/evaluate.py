"""Every pass over the test split with every seed's parameters, one compiled program."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from msa_jax.config import reads
from msa_jax.evaluation import metrics
from msa_jax.runs.reopened import ReopenedRun
from msa_jax.studies.robustness import passes
from msa_jax.studies.robustness.passes import Pass, Passes
from msa_jax.training import step
from msa_jax.training.epoch_program import layout_of_seeds
from msa_jax.training.train_state import split_sharding, state_sharding

ROWS_A_CALL = 8  # rows of the table that one call of the program takes


class Evaluated(NamedTuple):
    """The answers of all passes.

    rows: what each pass was.
    prediction: [p, s, n], or with more axes, as the run's own.
    replacement: the token that stood for missing ones, "" where text is features.
    """

    rows: list[Pass]
    prediction: np.ndarray
    replacement: str


def evaluate(
    run: ReopenedRun, repeats: int, on_call: Callable[[int, int], None]
) -> Evaluated:
    """Predict test under every corruption.

    Args:
        run: from `reopened.reopen`.
        repeats: draws of every random corruption.
        on_call: told how many passes are done, and of how many.
    """
    read = reads(run.files.settings)
    rows = passes.make_rows(read, repeats, passes.noisy_modalities(run.test))
    table = passes.tabulate(rows, read)
    token, number = replacement(run)
    program = make_program(run, number)
    variables = jax.device_put(run.variables, state_sharding(run.mesh))
    test = jax.device_put(run.test, split_sharding(run.mesh))
    found = []
    for start in range(0, len(rows), ROWS_A_CALL):
        # The last call has as many rows as the others; those too many are dropped.
        index = np.minimum(np.arange(start, start + ROWS_A_CALL), len(rows) - 1)
        some = Passes(*(column[index] for column in table))
        found.append(np.asarray(program(variables, test, some)))
        on_call(min(start + ROWS_A_CALL, len(rows)), len(rows))
    prediction = np.concatenate(found)[: len(rows)]
    return Evaluated(rows, prediction, token)


def make_program(run: ReopenedRun, replacement: int) -> Callable[..., jax.Array]:
    """Compile-ready program: (variables, split, rows) -> predictions [p, s, n].

    What is done to the split is data; the prediction is the one that a run's own test
    result comes from.
    """
    over_seeds = layout_of_seeds(run.files.settings.mesh.over_seeds, run.mesh)
    size = run.files.settings.optim.batch_size
    predict = step.make_predict(run.method, size, run.mesh, over_seeds=over_seeds)

    @jax.jit
    def program(variables, split, table: Passes):
        def one(row):
            return predict(variables, passes.corrupted(split, row, replacement))

        return jax.lax.map(one, table)

    return program


def replacement(run: ReopenedRun) -> tuple[str, int]:
    """Return the token that stands for a missing one: [UNK], else [PAD].

    Returns: its name and id; "" and 0 where text is features, which become zeros.

    Source: thuiar/MMSA, data loader for missing data: [UNK], and [CLS] and [SEP] stay.
    """
    text = run.test.text
    if not np.issubdtype(text.dtype, np.integer):
        return "", 0
    tokenizer = run.inputs.encoder.tokenizer
    number = getattr(tokenizer, "unk_token_id", None)
    return ("[PAD]", 0) if number is None else (str(tokenizer.unk_token), int(number))


def score(run: ReopenedRun, evaluated: Evaluated) -> list[list[dict[str, float]]]:
    """Return the metrics of every pass and seed, as the run itself was scored."""
    kind = run.files.results["metrics_kind"]
    return [
        [metrics.score(kind, of_seed, run.label) for of_seed in of_pass]
        for of_pass in evaluated.prediction
    ]


def largest_difference(run: ReopenedRun, evaluated: Evaluated) -> tuple[int, float]:
    """Compare every pass without corruption with the run's own answers on test.

    Returns: how many passes there are, and the largest difference: 0 says that all
        are the same to the bit.
    """
    read = set(reads(run.files.settings))
    clean = [
        evaluated.prediction[i]
        for i, row in enumerate(evaluated.rows)
        if row.level is None and read <= set(row.kept)
    ]
    own = run.prediction
    if all(np.array_equal(found, own, equal_nan=True) for found in clean):
        return len(clean), 0.0
    gaps = [np.abs(found.astype(np.float64) - own) for found in clean]
    return len(clean), float(np.max(np.nan_to_num(gaps, nan=np.inf)))
