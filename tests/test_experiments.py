"""The experiments run: the notebook from top to bottom, the scripts' help, a short training and, marked, a whole one."""

import importlib.util
import json
import os
import runpy
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import tf_seq2seq

ROOT = Path(tf_seq2seq.__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
NOTEBOOK = EXPERIMENTS / "quickstart.ipynb"
SCRIPTS = ["synthetic_tasks.py", "translate_tatoeba.py"]


@pytest.fixture(scope="module")
def synthetic_tasks():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("synthetic_tasks", EXPERIMENTS / "synthetic_tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs(notebook, cell_id):
    """Text printed by a cell, and the data of what it shows."""
    (cell,) = [cell for cell in notebook.cells if cell.id == cell_id]
    text = "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout")
    shown = {kind: data for out in cell.outputs for kind, data in out.get("data", {}).items()}
    return text, shown


def test_notebook_is_stored_without_outputs():
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    assert cells
    assert [cell.id for cell in cells if cell.outputs or cell.execution_count is not None] == []


def test_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """All cells in order in a fresh kernel, with four steps of training; an error in a cell is raised here."""
    monkeypatch.setenv("QUICKSTART_STEPS", "4")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(NOTEBOOK, 4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()

    assert outputs(notebook, "install") == ("", {}), "the package was there: nothing is to be installed"
    assert "perplexity" in outputs(notebook, "fit")[0]
    assert len(outputs(notebook, "n-best")[0].splitlines()) == 4
    assert "exact match 0." in outputs(notebook, "evaluate")[0]
    assert "image/png" in outputs(notebook, "attention-map")[1]
    assert (tmp_path / "runs/quickstart/generator/model.keras").is_file()
    assert "saved_model/1" in outputs(notebook, "export")[0]
    assert (tmp_path / "runs/quickstart/saved_model/1/saved_model.pb").is_file()


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_has_help(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(EXPERIMENTS / script), run_name="__main__")
    assert exit_.value.code == 0
    assert "--minutes" in capsys.readouterr().out


def test_synthetic_tasks_know_every_model_of_the_zoo(synthetic_tasks):
    assert set(synthetic_tasks.MODELS) == set(tf_seq2seq._PUBLIC["models.zoo"])
    assert set(synthetic_tasks.WITH_ATTENTION) < set(synthetic_tasks.MODELS)


def test_synthetic_tasks_end_with_the_budget_and_write_results(synthetic_tasks, tmp_path, capsys):
    """A second of training teaches nothing, but it ends, and another model's earlier result stays."""
    output = tmp_path / "new" / "results.json"
    output.parent.mkdir()
    output.write_text('{"gnmt": {"exact_match": 0.5}}')
    options = "--task copy --model plain --max-length 4 --pairs 2000 --examples 20 --steps 3 --minutes 0.01 --seed 7"
    options = [*options.split(), "--output", str(output)]
    synthetic_tasks.main(options)
    results = json.loads(output.read_text())
    assert results["gnmt"] == {"exact_match": 0.5}
    plain = results["plain"]
    assert plain["command"] == " ".join(["python experiments/synthetic_tasks.py", *options])
    assert plain["seed"] == 7 and plain["hardware"].endswith(" cores") and plain["test_examples"] == 20
    assert 1 <= plain["steps"] <= 3 and 0 <= plain["exact_match"] < 0.98
    assert "->" in capsys.readouterr().out


def test_committed_results_are_of_what_the_scripts_do(synthetic_tasks):
    """Each model with attention has learnt to reverse, by the record, within five minutes."""
    results = json.loads((EXPERIMENTS / "results" / "synthetic_reverse.json").read_text())
    for name in synthetic_tasks.WITH_ATTENTION:
        assert results[name]["exact_match"] >= 0.98 and results[name]["seconds"] < 300


@pytest.mark.learning
def test_reverse_is_learnt(synthetic_tasks, tmp_path):
    """26 letters, 3 to 20 of them: 98 of 100 fresh strings are reversed without a fault."""
    output = tmp_path / "results.json"
    synthetic_tasks.main(["--task", "reverse", "--model", "luong2015", "--output", str(output)])
    assert json.loads(output.read_text())["luong2015"]["exact_match"] >= 0.98
