"""Nothing that existed is lost by a write that fails, or by a path that was meant otherwise."""

import pytest

from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing


def test_a_failing_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as new:
        new.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_of_ours_is_replaced_whole(tmp_path):
    folder = tmp_path / "made"
    for names in (["one", "two"], ["one"]):
        with replacing(folder, holds=("one", "two")) as new:
            new.mkdir()
            for name in names:
                (new / name).write_text(name)
    assert [one.name for one in folder.iterdir()] == ["one"]


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path):
    (tmp_path / "letters").write_text("dear")
    told = "holds letters already: give a new name"
    with pytest.raises(InputError, match=told), replacing(tmp_path, holds=("one",)) as new:
        new.mkdir()
    assert (tmp_path / "letters").read_text() == "dear"


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("x")
    with (
        pytest.raises(InputError, match="is a folder that holds kept"),
        replacing(tmp_path / "folder") as new,
    ):
        new.write_text("file")
    assert (tmp_path / "folder" / "kept").exists()
