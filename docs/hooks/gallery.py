"""The gallery: commands that are run for it, and the pages that they write.

A hook of mkdocs (mkdocs.yml). The first build trains, which takes minutes; later ones
take what lies in build/gallery. Remove that folder to make the pages anew.
"""

import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).parents[2] / "build" / "gallery"


class Shown(NamedTuple):
    """A page of the gallery.

    command: what writes it.
    page, picture: where it and one of its figures lie then.
    words: what there is to see.
    """

    name: str
    title: str
    command: str
    page: str
    picture: str
    words: str


# Of the built-in data, with a small random BERT: seconds an epoch, nothing to install.
RUN = """python -m msa_jax.main --config configs/{}.py --workdir runs/{} \\
    --config.data.name=synthetic --config.data.standardise=train \\
    --config.text.weights=random --config.text.max_tokens=40 --config.seeds=1,2,3 \\
    --config.selection.max_epochs=20 --config.selection.early_stop=8"""
PAGES = (
    Shown(
        "card",
        "A data card",
        "python -m msa_jax.prepare mosi --synthetic --samples 400",
        "data/mosi/1.0.0/card.html",
        "",
        "Every check of a data set; labels, lengths, the range of every column. "
        "Shown: a twin of CMU-MOSI, of its shapes and of invented contents.",
    ),
    Shown(
        "run",
        "A run",
        RUN.format("smoke", "self_mm"),
        "runs/self_mm/report.html",
        "runs/self_mm/figures/loss.png",
        "All metrics with every seed's value beside trivial baselines and controls, "
        "curves, labels that were generated, single samples, t-SNE. Shown: Self-MM, "
        "three seeds.",
    ),
    Shown(
        "linear",
        "A floor",
        RUN.format("linear", "linear"),
        "runs/linear/report.html",
        "runs/linear/figures/scatter.png",
        "The same page of a linear model on time means.",
    ),
    Shown(
        "comparison",
        "A comparison",
        "python -m msa_jax.report runs/self_mm runs/linear",
        "runs/compare_self_mm_linear/table.html",
        "runs/compare_self_mm_linear/figures/differences.png",
        "Finished runs held against each other: intervals, paired tests over seeds and "
        "over samples, and in words what may be said of a difference.",
    ),
    Shown(
        "table",
        "A paper's table",
        "python -m msa_jax.reproduce self_mm/table4 --dataset demo --seeds 2 \\\n"
        '    --only "M,M, A, V" --no-controls',
        "runs/tables/self_mm_table4-synthetic-small/table.html",
        "runs/tables/self_mm_table4-synthetic-small/figures/values.png",
        "Ours beside the published values, a verdict in words per cell, and why they "
        "cannot be compared where they cannot. Shown: two rows, on invented data.",
    ),
    Shown(
        "robustness",
        "Robustness",
        "python -m msa_jax.robustness runs/linear --repeats 2",
        "runs/linear/robustness/robustness.html",
        "runs/linear/robustness/figures/modalities.png",
        "What a run loses when modalities or frames are missing or noisy.",
    ),
    Shown(
        "tune",
        "A search",
        "python -m msa_jax.tune --config configs/smoke.py \\\n"
        "    --sweep configs/sweeps/self_mm.py --trials 4 --workdir runs/tune",
        "runs/tune/tune.html",
        "",
        "Trials by their validation loss, the winner as a config file; test is shut.",
    ),
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write what is missing; add it, and the page that shows it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for shown in PAGES:
        if not (FOLDER / shown.page).exists():
            run(shown.command)
        for path, end in ((shown.page, "html"), (shown.picture, "png")):
            if path:
                target = f"gallery/{shown.name}.{end}"
                source = str(FOLDER / path)
                files.append(File.generated(config, target, abs_src_path=source))
    files.append(File.generated(config, "gallery.md", content=gallery()))
    return files


def run(command: str) -> None:
    """Run a command in the gallery's folder.

    Raises:
        RuntimeError: it failed.
    """
    logging.getLogger("mkdocs.hooks.gallery").info("gallery: %s", command)
    words = [sys.executable, *shlex.split(command.replace("\\\n", " "))[1:]]
    env = {name: text for name, text in os.environ.items() if name != "MSA_DATA"}
    how = {"cwd": FOLDER, "env": env, "capture_output": True, "text": True}
    said = subprocess.run(words, **how)
    if said.returncode:
        raise RuntimeError(f"{command}\n{said.stderr}")


def gallery() -> str:
    """Return the page."""
    lines = [
        "# Gallery",
        "",
        "Pages that the commands wrote when this manual was built,",
    ]
    lines += [
        "with tiny settings on invented data: **their numbers mean nothing**.",
        "",
    ]
    for shown in PAGES:
        link = f"gallery/{shown.name}.html"
        lines += [
            f"## {shown.title}",
            "",
            shown.words,
            f"**[Open the page]({link})**",
            "",
        ]
        lines += ["```sh", shown.command, "```", ""]
        if shown.picture:
            picture = f"![A figure of the page](gallery/{shown.name}.png)"
            lines += [f"[{picture}]({link})", ""]
    return "\n".join(lines)
