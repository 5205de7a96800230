"""The notebooks of docs/notebooks, run from top to bottom in a kernel of their own."""

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SHOWN = {  # what a reader should see in an output, by its type
    "first_run": {"image/png": "", "text/html": "srcdoc", "text/plain": "Run of"},
    "your_own_data": {"text/html": "<table", "text/plain": "'vision'"},
    "comparing_methods": {"image/png": "", "text/html": "p_samples"},
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_what_it_printed(path):
    """And runs on Colab: the first code installs the wheel where it is missing."""
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert "%pip install -q msa_jax-*.whl" in "".join(code[0]["source"])
    assert max(len(line) for cell in code for line in cell["source"]) < 90


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    why = "nbclient and ipykernel are not installed: pip install -e '.[dev]'"
    nbclient = pytest.importorskip("nbclient", reason=why)
    pytest.importorskip("ipykernel", reason=why)
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    client.execute(env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)})
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    said: dict[str, str] = {}
    for o in outputs:
        if o.output_type == "stream":
            said[o.name] = said.get(o.name, "") + o.text
    assert "stderr" not in said, said["stderr"]
    assert "\x1b" not in said.get("stdout", "")  # a notebook takes no cursor
    if path.stem == "first_run":
        assert re.search(r"^epoch +3  train \d", said["stdout"], re.MULTILINE)
    for kind, words in SHOWN[path.stem].items():
        found = [o.data[kind] for o in outputs if kind in o.get("data", ())]
        assert any(words in text for text in found), (kind, words)
