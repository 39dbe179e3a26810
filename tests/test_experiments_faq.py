"""The script of the FAQ's figures on a corpus of a few invented sentences."""

import gzip
import importlib.util
import itertools
import json
from pathlib import Path

import pytest

import tf_seq2seq

SCRIPT = Path(tf_seq2seq.__file__).parents[1] / "experiments" / "faq_figures.py"


@pytest.fixture
def faq(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("faq_figures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def corpus(tmp_path):
    """A folder like Multi30k's."""
    words = (
        [["ein", "der"], ["hund", "mann"], ["läuft", "schläft"]],
        [
            ["a", "the"],
            ["dog", "man"],
            ["runs", "sleeps"],
        ],
    )
    for language, side in zip(("de", "en"), words):
        lines = [" ".join(one) for one in itertools.product(*side)]
        for split, some in (("train", lines * 2), ("val", lines[:3])):
            with gzip.open(tmp_path / f"{split}.{language}.gz", "wt", encoding="utf-8") as file:
                file.write("\n".join(some) + "\n")
    return tmp_path


@pytest.mark.usefixtures("eagerly")
def test_a_setting_is_run_once_and_written_whole(faq, corpus, monkeypatch, capsys):
    monkeypatch.setattr(faq.tf.config.threading, "set_intra_op_parallelism_threads", lambda count: None)
    monkeypatch.setattr(faq.tf.config.threading, "set_inter_op_parallelism_threads", lambda count: None)
    output = corpus / "faq.json"
    page = corpus / "page.md"
    page.write_text("before\n{}\nold\n{}\nafter\n".format(*faq.MARKS))
    argv = ["--data", str(corpus), "--only", "R-Drop 5", "--output", str(output), "--page", str(page)]
    argv += ["--pieces", "20", "--units", "8", "--epochs", "1"]
    faq.main(argv)
    figures = json.loads(output.read_text())["R-Drop 5"]
    assert figures["setting"]["objective"] == {"RDrop": {"alpha": 5.0}}
    assert figures["setting"]["units"] == 8 and figures["steps"] == 1
    assert figures["val_perplexity"] > 1 and 0 <= figures["val_bleu_lc"] <= 100
    first, *_, last = page.read_text().splitlines()
    assert (first, last) == ("before", "after") and "old" not in page.read_text()
    assert f"| Overfitting? | R-Drop 5 | {figures['train_perplexity']:.1f} |" in page.read_text()
    faq.main(argv)
    assert capsys.readouterr().out.count("there already") == 2  # the default, too, is run but once

    monkeypatch.setattr(faq, "processor", lambda: "another")
    monkeypatch.setattr(faq, "run", lambda setting, args: {**figures})  # the real one takes its time
    faq.main([*argv, "--only", "dropout 0"])
    done = json.loads(output.read_text())
    assert len(done["default"]["default_seconds"]) == 2 and done["dropout 0"]["processor"] == "another"
    assert done["default"]["processor"] == figures["processor"] != "another"


def test_the_share_of_the_reference_is_a_half_half_way(faq):
    for steps in (100, 790, 20_000):
        assert abs(float(faq.half_way(steps)(steps // 2)) - 0.5) < 0.1


def test_settings_change_what_is_there_and_can_be_told(faq):
    for name, changes in faq.SETTINGS.items():
        assert set(changes) <= set(faq.DEFAULT), name
        json.dumps(faq.described({**faq.DEFAULT, **changes}))
    objectives = [faq.described({**faq.DEFAULT, **one})["objective"] for one in faq.SETTINGS.values()]
    assert sum(one is not None for one in objectives) == 6
