"""Sources of sentence pairs; each gives `Pairs(train, valid, test)` of lazily read strings.

All of them take the options of `tf_seq2seq.data.preparing.prepare`: how many pairs to hold out (`valid`,
`test`), `cleaning`, `keep`, `seed`, `disjoint`, `licence`. The result is kept as prepared files in the user's
cache folder, so that a second call with the same input and options takes no time.
"""

import functools
import itertools
from pathlib import Path

from tf_seq2seq.data import reading
from tf_seq2seq.data.cache import file_digest
from tf_seq2seq.data.preparing import prepare
from tf_seq2seq.errors import InputError


def text_pairs(source_path, target_path, *, valid=None, test=None, **options):
    """Pairs of two parallel text files, plain, gzipped or zipped, one sentence a line.

    >>> import tempfile, unittest.mock
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "es").write_text("uno\\ndos\\ntres\\ncuatro\\n")
    >>> _ = (folder / "en").write_text("one\\ntwo\\nthree\\nfour\\n")
    >>> with unittest.mock.patch.dict("os.environ", TF_SEQ2SEQ_CACHE=str(folder)):  # else the user's own
    ...     pairs = text_pairs(folder / "es", folder / "en", valid=0, test=1)
    >>> len(pairs.train), len(pairs.test)
    (3, 1)

    Args:
        source_path, target_path: files of equal line counts.
        valid, test: how many pairs to hold out, or the corpus's own held-out set as a pair of paths.
        **options: see `prepare`.

    Returns:
        Pairs

    Raises:
        InputError: if a file is missing, empty, damaged or not UTF-8, or the line counts differ.
    """
    files = {"train": (source_path, target_path), "valid": valid, "test": test}
    return _file_pairs(Path(source_path).name, files, reading.parallel, "parallel", options)


def tsv_pairs(path, member=None, columns=(0, 1), header=0, *, valid=None, test=None, **options):
    """Pairs of two columns of a tab-separated file, plain, gzipped or inside a zip.

    Args:
        path: the file.
        member: the file inside a zip; may be left out where a zip holds one text file.
        columns: indices of source and target column, from 0; `(1, 0)` turns the direction round.
        header: lines to skip at the beginning.
        valid, test: how many pairs to hold out, or the path of the corpus's own held-out set in the same
            form.
        **options: see `prepare`.

    Returns:
        Pairs

    Raises:
        InputError: if the file is missing, empty, damaged or not UTF-8, or a line has too few columns.
    """
    files = {
        use: (given,) if isinstance(given, str | Path) else given
        for use, given in (("valid", valid), ("test", test))
    }
    columns = tuple(columns)
    facts = ["columns", member, columns, header]
    read = functools.partial(reading.columns, member=member, columns=columns, header=header)
    return _file_pairs(Path(path).name, {"train": (path,), **files}, read, facts, options)


def tfds_pairs(name, source=None, target=None, *, data_dir=None, download=True, **options):
    """Pairs of a translation set of TensorFlow Datasets, e.g. `"wmt16_translate/de-en"`.

    Splits that the set has (`train`, `validation`, `test`) are taken as they are, up to `disjoint`; missing
    ones are held out of `train`.

    Args:
        name: name of the set, with its config.
        source, target: names of the features, languages as a rule; left out, those of the set's supervised
            keys.
        data_dir: where TensorFlow Datasets keeps its files.
        download: whether to download and prepare the set if need be.
        **options: see `prepare`.

    Returns:
        Pairs

    Raises:
        InputError: if there is no such set, split or feature.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if download:
            builder.download_and_prepare()
    except (tfds.core.DatasetNotFoundError, ValueError, OSError) as error:
        raise InputError(f"cannot get {name} from TensorFlow Datasets: {_first_line(error)}") from error
    keys = builder.info.supervised_keys or (None, None)
    return _builder_pairs(builder, source or keys[0], target or keys[1], builder.info.full_name, options)


def translate_folder_pairs(folder, source, target, **options):
    """Pairs of a local folder of files `<language>.<split>.txt`, read by `tfds.TranslateFolder`.

    TensorFlow Datasets holds such a folder in memory; for a large one give its files to `text_pairs`.

    Args:
        folder: with e.g. `es.train.txt`, `en.train.txt`, and perhaps `es.test.txt`, `en.test.txt`.
        source, target: languages, as in the file names.
        **options: see `prepare`.

    Returns:
        Pairs

    Raises:
        InputError: if files are missing, badly named, not UTF-8, or of unequal line counts.
    """
    import tensorflow_datasets as tfds

    for path in sorted(Path(folder).glob("*.txt")):
        for _ in reading.lines(path):  # the builder's own errors don't name file and line
            pass
    try:
        builder = tfds.TranslateFolder(str(folder))
    except (ValueError, OSError) as error:
        wanted = "files named like es.train.txt, with equal line counts for a split, and nothing else"
        raise InputError(
            f"{folder} is no folder of translations ({_first_line(error)}); it needs {wanted}"
        ) from error
    return _builder_pairs(builder, source, target, Path(folder).name, options)


def _file_pairs(name, files, read, facts, options):
    given = {use: paths for use, paths in files.items() if isinstance(paths, tuple | list)}
    amounts = {use: amount for use, amount in files.items() if use not in given}
    for path in itertools.chain(*given.values()):
        if not Path(path).is_file():
            raise InputError(f"there is no file {path}")
    digests = {use: [file_digest(path) for path in paths] for use, paths in given.items()}
    readers = {use: functools.partial(read, *paths) for use, paths in given.items()}
    return prepare(name, readers, [facts, digests], **amounts, **options)


def _builder_pairs(builder, source, target, name, options):
    uses = {"train": "train", "validation": "valid", "valid": "valid", "dev": "valid", "test": "test"}
    names = list(builder.info.splits) or ["train"]  # none are known of a set that tfds.testing mocks
    splits = {uses[split]: split for split in names if split in uses}
    if "train" not in splits:
        raise InputError(f"{name} has no split 'train', only {', '.join(names)}")
    features = list(builder.info.features)
    if source not in features or target not in features or source == target:
        raise InputError(f"{name}: source={source!r}, target={target!r}; give two of {', '.join(features)}")
    options = {
        option: value for option, value in options.items() if option not in splits or option == "train"
    }
    readers = {
        use: functools.partial(_examples, builder, split, source, target) for use, split in splits.items()
    }
    start = {use: list(itertools.islice(read(), 20)) for use, read in readers.items()}
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    return prepare(name.replace("/", "-"), readers, [name, source, target, counts, start], **options)


def _examples(builder, split, source, target):
    try:
        dataset = builder.as_dataset(split=split, shuffle_files=False)
    except (AssertionError, ValueError, OSError) as error:
        raise InputError(f"cannot read {split} of {builder.name}: {_first_line(error)}") from error
    for number, example in enumerate(dataset.as_numpy_iterator(), 1):
        try:
            yield example[source].decode(), example[target].decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{builder.name}, {split}, example {number:,}: not UTF-8") from error


def _first_line(error):
    return str(error).strip().split("\n")[0]
