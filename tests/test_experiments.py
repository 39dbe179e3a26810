"""The experiments run: the notebook from top to bottom, the scripts' help, a short training and, marked, a whole one."""

import doctest
import gzip
import importlib
import importlib.util
import itertools
import json
import os
import runpy
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import tf_seq2seq

ROOT = Path(tf_seq2seq.__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
BENCHMARKS = EXPERIMENTS / "benchmarks"
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


@pytest.mark.exports
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


ROW_FIELDS = [
    "case",
    "sentences_per_second",
    "tokens_per_second",
    "p50_ms",
    "shortlist",
    "precision",
    "baseline",
    "ratio",
    "goal",
]


@pytest.fixture(scope="module")
def benchmark():
    """Gives a module of the benchmarks' folder, whose modules import each other by name."""
    path = [*sys.path]
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path[:] = path


def decoded(tokens_per_second, sentences_per_second=10.0):
    """What one pass gives."""
    speeds = {"sentences_per_second": sentences_per_second, "tokens_per_second": tokens_per_second}
    return speeds | {"p50_ms": 2.0, "average_length": 12.0, "load_before": 0.1}


@pytest.fixture
def decode_report(benchmark, tmp_path, monkeypatch):
    """All cases measured, one pass each, by programs whose speeds are known: ours 300, keras 100, torch 200 tokens/s."""
    decode_speed = benchmark("decode_speed")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test500.ref.de").write_text("ein mann läuft über das gras .\n")
    speeds = {"tf_seq2seq": 300.0, "keras": 100.0, "torch": 200.0}
    one_pass = lambda name, args, case: (decoded(speeds[name]), ["ein mann läuft über das gras ."])
    monkeypatch.setattr(benchmark("decode_programs"), "decode_pass", one_pass)
    args = decode_speed.arguments(
        ["--baselines", str(tmp_path), "--work", str(tmp_path / "work"), "--passes", "1"]
    )
    report = decode_speed.report_of(args, core=0)
    decode_speed.measure(args, report, list(speeds), decode_speed.CASES)
    return args, report


@pytest.mark.parametrize("name", ["decode_speed", "decode_programs", "decode_floor", "train_speed"])
def test_benchmark_examples_are_right(benchmark, name):
    found = doctest.testmod(benchmark(name))
    assert found.attempted > 0 and found.failed == 0


@pytest.mark.parametrize(
    "options, reason", [([], "give --baselines"), (["--baselines", "nowhere"], "vocab.txt")]
)
@pytest.mark.parametrize("name", ["decode_speed", "train_speed"])
def test_a_speed_without_baselines_says_why_it_is_skipped(benchmark, name, options, reason, capsys):
    benchmark(name).main(options)
    said = capsys.readouterr().out
    assert said.startswith("skipped: ") and reason in said


def test_decode_speed_has_a_row_of_the_asked_fields_for_each_case(benchmark, decode_report):
    args, report = decode_report
    cases = benchmark("decode_speed").CASES
    assert [row["case"] for row in report["rows"]] == [case.name for case in cases]
    assert all(list(row) == ROW_FIELDS for row in report["rows"])
    assert {(row["baseline"], row["ratio"]) for row in report["rows"]} == {("torch", 1.5)}
    assert {figures["tf_seq2seq"]["bleu"] for figures in report["measured"].values()} == {100.0}
    assert json.loads(args.json.read_text()) == report


def test_decode_speed_counts_the_median_and_goes_on_where_it_was_cut(benchmark, decode_report, monkeypatch):
    args, report = decode_report
    decode_speed = benchmark("decode_speed")
    calls, speeds = [], iter([900.0, 400.0])

    def one_pass(name, args, case):
        calls.append((name, case.name))
        return decoded(next(speeds)), [""]

    monkeypatch.setattr(benchmark("decode_programs"), "decode_pass", one_pass)
    args.passes = 3
    decode_speed.measure(args, report, ["tf_seq2seq"], decode_speed.CASES[:1])
    name = decode_speed.CASES[0].name
    assert calls == [("tf_seq2seq", name)] * 2, "the first pass of three was there already"
    (row,) = report["rows"]  # other cases have not all of their passes
    assert row["tokens_per_second"] == 400.0 and row["ratio"] == 2.0
    assert len(report["measured"][name]["tf_seq2seq"]["passes"]) == 3


def test_decode_speed_without_a_peer_has_no_ratio(benchmark):
    decode_speed = benchmark("decode_speed")
    ours = decoded(300.0)
    row = decode_speed.row_of(decode_speed.CASES[0], ours, {"tf_seq2seq": ours})
    assert (row["baseline"], row["ratio"]) == (None, None) and list(row) == ROW_FIELDS


def test_decode_speed_refuses_a_result_of_other_settings(benchmark, decode_report):
    args, _ = decode_report
    args.epochs = 7
    with pytest.raises(SystemExit, match="another --json"):
        benchmark("decode_speed").report_of(args, core=0)


def test_decode_speed_share_of_the_floor(benchmark, decode_report, capsys):
    """By hand: 15 million operations a row and step at 10^9 a second, beside 2.44 million for the encoder."""
    decode_speed = benchmark("decode_speed")
    _, report = decode_report
    step_ms = {"1": 1.0, "5": 2.0, "32": 16.0, "160": 800.0}
    report["floor"] = {"gflops": {"float32": 1.0, "bfloat16": 1.0}, "read_gb_per_second": {"30": 1000.0}}
    report["floor"]["step_ms"] = step_ms
    report["floors"] = floors = decode_speed.floors(report)
    greedy, beam = floors["greedy-batch-32"], floors["beam-5-batch-32"]
    assert greedy["tokens_per_second"] == pytest.approx(1e9 / (14.5e6 + 2.44e6), abs=1)
    assert beam["tokens_per_second"] == pytest.approx(1e9 / (5 * 14.5e6 + 2.44e6), abs=1)
    assert beam["share"] == pytest.approx(300 / beam["tokens_per_second"], rel=0.05)
    assert beam["share_of_goal"] == pytest.approx(beam["share"] * 1.4 / 1.5, rel=1e-3)
    assert beam["products_tokens_per_second"] == pytest.approx(1e9 / (25e6 + 2.44e6), abs=1)  # 800 ms / 32
    assert "products_share" not in floors["beam-5-batch-32-bfloat16-shortlist"]
    decode_speed.show(report)
    shown = capsys.readouterr().out
    assert "(beyond it)" in shown and "reached" in shown and "missed" in shown


def test_decode_floor_of_one_row_is_reading_the_weights(benchmark):
    """7.25 million weights of 2 bytes at 14.5 GB a second: a step takes a millisecond; a shortlist reads fewer."""
    floor = benchmark("decode_floor").floor
    measured = {"gflops": {"bfloat16": 1e9}, "read_gb_per_second": {"8": 14.5, "15": 14.5}}
    assert floor(measured, beam=1, batch=1, precision="bfloat16") == pytest.approx(1000, rel=0.01)
    short = floor(measured, beam=1, batch=1, precision="bfloat16", columns=500)
    assert short == pytest.approx(1000 * 7.25 / (3.15 + 0.256), rel=0.01)


def test_own_program_prints_what_the_benchmark_reads(benchmark):
    """Two hypotheses of 2 and 3 pieces and their ENDs in half a second."""
    args = benchmark("tf_seq2seq_nmt").arguments(["decode", "--beam", "5", "--batch", "1"])
    line = benchmark("tf_seq2seq_nmt").result(args, [[7, 8], [7, 8, 9]], [0.3, 0.2], 0.5)
    figures = benchmark("decode_programs").decode_figures(f"a log\n{line}\n")
    assert figures == {
        "sentences_per_second": 4.0,
        "tokens_per_second": 14.0,
        "p50_ms": 300.0,
        "average_length": 3.5,
    }


def test_opennmt_tf_gets_the_same_pieces_and_epochs(benchmark, tmp_path):
    baseline = benchmark("opennmt_tf_baseline")
    for language in ("en", "de"):
        (tmp_path / f"train.bpe.{language}.gz").write_bytes(gzip.compress("▁a b\n▁c\n".encode()))
    (tmp_path / "vocab.txt").write_text("▁a\nb\n")
    folder = tmp_path / "opennmt_tf"
    assert baseline.unpack(tmp_path, folder) == 2
    assert (folder / "train.bpe.de").read_text() == "▁a b\n▁c\n"
    assert (folder / "vocab.txt").read_text() == "<blank>\n<s>\n</s>\n▁a\nb\n"
    baseline.configure(folder, steps=907)
    assert json.loads((folder / "data.yml").read_text())["train"]["max_step"] == 907
    assert json.loads((folder / "beam-5.yml").read_text())["params"]["beam_width"] == 5


@pytest.fixture
def trained(benchmark, tmp_path, monkeypatch):
    """`train_speed` with programs whose speeds are known: ours 300, or 600 in bfloat16, the peer 200 tokens/s."""
    train_speed = benchmark("train_speed")
    log = "FIRST_STEP 8.0s\nstep 100 loss 5.0 tgt\nstep 150 loss {} tgt\nRESULT steps 130 tgt_tok/s {} maxrss 9MiB"
    passes = []

    def run_in_turn(programs, threads):
        passes.append(programs)
        bfloat16 = "mixed_bfloat16" in programs[0][0]
        return [
            log.format(4.0, 300.0 if bfloat16 else 150.0),
            log.format(4.2, 100.0),
        ]  # half of the time is each one's

    monkeypatch.setattr(train_speed, "run_in_turn", run_in_turn)
    monkeypatch.setattr(train_speed, "run", lambda *_: log.format(4.0, 300.0))
    monkeypatch.setattr(train_speed, "torch_python", lambda args: "python")
    args = train_speed.arguments(["--work", str(tmp_path), "--baselines", str(tmp_path), "--passes", "2"])
    report = train_speed.report_of(args) | {"floor": {"gflops": {"float32": 100.0, "bfloat16": 200.0}}}
    for case in train_speed.CASES:
        train_speed.measure(args, report, case)
        train_speed.measure_losses(args, report, case)
    return train_speed, report, passes


def test_train_speed_has_a_row_of_the_asked_fields_for_each_case(trained):
    train_speed, report, _ = trained
    rows = [train_speed.row_of(case, report, 2) for case in train_speed.CASES]
    assert [row["ratio"] for row in rows] == [1.5, 3.0, 1.5, 3.0]
    asked = {"case", "target_tokens_per_second", "rss_mib", "baseline", "ratio", "goal"}
    assert all(asked <= set(row) for row in rows)
    assert all((row["loss"], row["baseline_loss"]) == (4.5, 4.6) for row in rows)
    assert all(row["first_step_seconds"] == 8.0 for row in rows)
    assert rows[0]["share_of_floor"] == round(300 / (100e9 / (6 * 8.48e6)), 3)
    report["settings"]["cores"] = 2
    assert train_speed.row_of(train_speed.CASES[0], report, 2)["goal"] is None  # goals are of one core


def test_train_speed_runs_both_programs_of_a_case_together(trained):
    train_speed, _, passes = trained
    assert len(passes) == 2 * len(train_speed.CASES)
    for programs in passes:
        (ours, *_), (peer, *_) = programs
        assert ours[1] == train_speed.OURS and peer[1].name == "torch_nmt.py"
        assert [command[command.index("--max-s") + 1] for command in (ours, peer)] == [120.0, 120.0]


def test_programs_in_turn_are_awake_one_at_a_time(benchmark, tmp_path):
    """Each counts the time in which it runs; clocks on the wall see twice as much."""
    programs, code = (
        benchmark("baseline_programs"),
        "import time\nbegun, ran, last = time.time(), 0.0, time.time()\n",
    )
    code += "while time.time() < begun + 2:\n    now = time.time()\n    ran += min(now - last, 0.01)\n    last = now\n"
    command = [sys.executable, "-c", code + "print(ran)"]
    ran = programs.run_in_turn([(command, tmp_path / name, None, None) for name in "ab"], 1, seconds=0.1)
    assert all(0.6 < float(one) < 1.4 for one in ran)


def test_a_program_in_turn_that_fails_is_named(benchmark, tmp_path):
    programs = benchmark("baseline_programs")
    commands = [[sys.executable, "-c", "print(1)"], [sys.executable, "-c", "raise SystemExit('no data')"]]
    with pytest.raises(programs.Skipped, match="exit code 1: no data"):
        programs.run_in_turn([(one, tmp_path / str(len(one[2])), None, None) for one in commands], 1)


def test_batches_of_the_peer_hold_each_pair_once_an_epoch(benchmark, tmp_path):
    for language, word in [("en", "a"), ("de", "b")]:
        lines = "".join(f"{word} " * (1 + row % 7) + f"{row}\n" for row in range(150))
        (tmp_path / f"train.bpe.{language}.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in ["a", "b", *range(150)]))
    program = benchmark("tf_seq2seq_nmt")
    found = list(itertools.islice(program.peers_batches(tmp_path, program.read_vocabulary(tmp_path)), 3))
    number = lambda ids: sorted(
        int(row[row > 5].numpy()[0]) for row in ids
    )  # the token that only one pair has
    first = [number(inputs["source_ids"]) for inputs, _ in found]
    assert sorted(itertools.chain(*first)) == list(range(6, 156)) and sorted(map(len, first)) == [22, 64, 64]
    for inputs, labels in found:
        assert number(labels) == number(inputs["source_ids"])
        np.testing.assert_array_equal(inputs["target_ids"][:, 0], 2)
        shifted = inputs["target_ids"][:, 1:]
        np.testing.assert_array_equal(shifted, np.where(labels[:, 1:] > 0, labels[:, :-1], 0))


def test_train_speed_without_all_passes_has_no_row(trained):
    train_speed, report, _ = trained
    assert train_speed.row_of(train_speed.CASES[0], report, 3) is None
