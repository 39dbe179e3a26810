"""The recipe from files to its result file, interrupted and gone on with; and the table of result files."""

import doctest
import gzip
import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

import tf_seq2seq

EXPERIMENTS = Path(tf_seq2seq.__file__).parents[1] / "experiments"


@pytest.fixture
def script(monkeypatch):
    """A function that loads a script as a module."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A folder of 120, 20 and 20 pairs of invented phrases, a file of each side, gzipped or not."""
    monkeypatch.setenv("TF_SEQ2SEQ_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    things = [("hund", "dog"), ("baum", "tree"), ("vogel", "bird"), ("stein", "stone"), ("fluss", "river")]
    pairs = [
        (f"ein {a} und {n} mal ein {c}", f"a {b} and {n} times a {d}")
        for a, b in things
        for c, d in things
        for n in range(7)
    ]
    for name, rows in (("train", pairs[:120]), ("val", pairs[120:140]), ("check", pairs[140:160])):
        for language, side in (("de", 0), ("en", 1)):
            text = "".join(row[side] + "\n" for row in rows)
            if name == "train":
                (data / f"{name}.{language}.gz").write_bytes(gzip.compress(text.encode()))
            else:
                (data / f"{name}.{language}").write_text(text)
    return data


@pytest.fixture
def run(script, corpus, tmp_path, monkeypatch):
    """Runs the recipe on the corpus, with tiny sizes; gives the result."""
    recipe = script("translate_multi30k")
    small = {"pieces": 32, "units": 8, "embedding_size": 8, "batch_tokens": 200}
    monkeypatch.setattr(
        recipe, "MODELS", {name: replace(one, **small) for name, one in recipe.MODELS.items()}
    )
    monkeypatch.setattr(recipe, "BEAMS", (1, 2))
    monkeypatch.setattr(recipe, "PENALTIES", (0.0,))
    monkeypatch.setattr(recipe.tf.config.threading, "set_intra_op_parallelism_threads", lambda count: None)
    monkeypatch.setattr(recipe.tf.config.threading, "set_inter_op_parallelism_threads", lambda count: None)

    def call(*options):
        command = ["--data", str(corpus), "--test", "check", "--precision", "float32", *options]
        command += ["--output", str(tmp_path / "run"), "--results", str(tmp_path / "results")]
        recipe.main(command)
        (result,) = (tmp_path / "results").glob("*.json")
        return json.loads(result.read_text())

    return call


def test_recipe_gives_a_result_with_all_its_fields(run, tmp_path, optimized):
    """`best` has a moving average and tied vectors."""
    result = run("--model", "best", "--minutes", "0.1")
    asked = {"pair", "model", "parameters", "seed", "minutes", "val_bleu_lc", "test_bleu_lc", "test_bleu_13a"}
    assert asked | {"test_bleu_tok_lc", "signature", "hardware", "commit"} <= set(result)
    assert (result["pair"], result["model"], result["seed"]) == ("de-en", "best", 1)
    assert result["val_bleu_lc"] == max(result["val_searches"].values())
    assert "case:lc" in result["signature"]
    assert len((tmp_path / "run" / "test.hyp.txt").read_text().splitlines()) == 20
    assert (
        tf_seq2seq.TextGenerator.load(tmp_path / "run" / "generator").model.count_params()
        == result["parameters"]
    )


@pytest.mark.survival
def test_recipe_goes_on_where_it_was_stopped(run, monkeypatch):
    """Stopped when its second epoch begins, it begins with that one when it is called again."""
    begun, begin = [], tf_seq2seq.Monitor.on_epoch_begin

    class Stop(Exception):
        pass

    def stop_once(self, epoch, logs=None):
        begun.append((epoch, int(self.model.optimizer.iterations)))
        if [epoch for epoch, _ in begun] == [0, 1]:
            raise Stop
        begin(self, epoch, logs)
        self.model.stop_training = epoch == 2

    monkeypatch.setattr(tf_seq2seq.Monitor, "on_epoch_begin", stop_once)
    with pytest.raises(Stop):
        run("--model", "plain", "--minutes", "9")
    result = run("--model", "plain", "--minutes", "9")
    assert begun[0] == (0, 0) and begun[1] == begun[2] and begun[1][1] > 0
    assert result["steps"] > begun[2][1]


def test_table_has_a_row_a_pair_and_model(script):
    table = script("multi30k_table")
    assert doctest.testmod(table).failed == 0
    assert doctest.testmod(script("marked_tables")) == (0, 1)
    one = dict.fromkeys(table.SAME, "x") | dict.fromkeys(table.OVER_SEEDS, 39.04) | {"commit": "a"}
    one |= {"parameters": 5_200_000, "minutes": 40.0, "pair": "de-en"}
    rows = table.joined(
        [
            one | {"model": model, "seed": seed, "test_bleu_tok_lc": None}
            for model in ("best", "plain")
            for seed in (2, 1)
        ]
    )
    assert [(row["model"], row["seeds"]) for row in rows] == [("plain", [1, 2]), ("best", [1, 2])]
    lines = table.table(rows).splitlines()
    assert len(lines) == 4 and all(line.count("|") == lines[0].count("|") for line in lines)
    assert "| 39.0 | 39.0 (39.0 to 39.0) | 39.0 |  |" in lines[2]


def test_every_rung_of_the_ladder_is_in_the_table(script):
    assert set(script("translate_multi30k").MODELS) == set(script("multi30k_table").LADDER)
