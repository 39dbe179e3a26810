"""`tf-seq2seq data shard`: the training split as ids, the other splits as text, whole or not at all."""

import pytest

from tf_seq2seq import cli
from tf_seq2seq.data.shards import Shards

ROWS = [(f"palabra {number} de la casa", f"word {number} of the house") for number in range(60)]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """`data shard` of a small corpus, and the folder it writes to."""
    monkeypatch.setenv("TF_SEQ2SEQ_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pairs.tsv").write_text("".join("\t".join(row) + "\n" for row in ROWS))
    arguments = ["data", "shard", "--tsv", str(tmp_path / "pairs.tsv"), "--valid", "5", "--test", "5"]
    return [
        *arguments,
        "--output",
        str(tmp_path / "out"),
        "--vocabulary",
        "words",
        "--shards",
        "3",
    ], tmp_path / "out"


def test_the_training_split_becomes_shards(command, capsys):
    arguments, folder = command
    for _ in range(2):  # the second time over its own files
        assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    shards = Shards(folder / "train")
    text = shards.target_text
    found = {
        (
            shards.source_text.text(source[None])[0].numpy().decode(),
            text.text(target[None])[0].numpy().decode(),
        )
        for source, target in shards.split()
    }
    held_out = {
        tuple((folder / f"{use}.{side}").read_text().splitlines()[row] for side in ("source", "target"))
        for use in ("valid", "test")
        for row in range(5)
    }
    assert found | held_out == {*ROWS} and len(found) == 50
    assert len([*(folder / "train").glob("*.tfrecord")]) == 3
    assert f"vocabulary {text.vocab_size} words; 300 tokens with END" in out
    assert err == ""


def test_what_is_missing_is_told(command, capsys, tmp_path):
    arguments, folder = command
    assert cli.main([*arguments[:8]]) == 2
    assert "data shard wants --output FOLDER and --vocabulary" in capsys.readouterr().err
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "mine.txt").write_text("kept")
    assert cli.main(arguments) == 2
    assert "holds train already: give a new name" in capsys.readouterr().err
    assert cli.main([*arguments[:-2], "--max-length", "2"]) == 2
    assert (folder / "train" / "mine.txt").read_text() == "kept"
