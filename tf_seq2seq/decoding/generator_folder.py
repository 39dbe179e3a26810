"""The folder of a generator: its model, text processors and strategy, and a shortlist and replacements if it has them.

::

    model.keras    source/    target/    strategy.json    shortlist.npz    unknowns.json
"""

import json
from pathlib import Path

import keras

from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.decoding import (  # noqa: F401 like zoo below
    beam_search,
    constraints,
    coverage,
    diverse_beam_search,
    ensemble,
    greedy,
    sampling,
    stochastic_beam_search,
    trie,
    unknowns,
)
from tf_seq2seq.decoding.shortlist import Shortlist
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing
from tf_seq2seq.layers import attention, bridges  # noqa: F401 like zoo
from tf_seq2seq.models import zoo  # noqa: F401 it registers the classes that saved models are made of

_MODEL, _SOURCE, _TARGET, _STRATEGY = "model.keras", "source", "target", "strategy.json"
_SHORTLIST, _UNKNOWNS = "shortlist.npz", "unknowns.json"
_HOLDS = (_MODEL, _SOURCE, _TARGET, _STRATEGY)


def write(generator, folder):
    """Writes the parts of a `TextGenerator`; an older folder stays as it was if this fails."""
    strategy = keras.saving.serialize_keras_object(generator.strategy)
    with replacing(folder, holds=_HOLDS) as new:
        new.mkdir()
        generator.model.save(new / _MODEL)
        generator.source_text.save(new / _SOURCE)
        generator.target_text.save(new / _TARGET)
        _write_json(new / _STRATEGY, strategy)
        if generator.shortlist is not None:
            generator.shortlist.save(new / _SHORTLIST)
        if generator.unknowns is not None:
            _write_json(new / _UNKNOWNS, keras.saving.serialize_keras_object(generator.unknowns))


def read(folder):
    """The parts, by the names of `TextGenerator`'s arguments.

    Raises:
        InputError: if the folder is not a generator or is damaged.
    """
    folder = Path(folder)
    for name in _HOLDS:
        if not (folder / name).exists():
            raise InputError(f"{folder} has no {name}: give a folder that TextGenerator.save wrote")
    optional = lambda name, read: _load(folder / name, read) if (folder / name).exists() else None
    return {
        "model": _load(folder / _MODEL, lambda path: keras.saving.load_model(path, compile=False)),
        "source_text": TextProcessor.load(folder / _SOURCE),
        "target_text": TextProcessor.load(folder / _TARGET),
        "strategy": _load(folder / _STRATEGY, _read_object),
        "shortlist": optional(_SHORTLIST, Shortlist.load),
        "unknowns": optional(_UNKNOWNS, _read_object),
    }


def _load(path, read):
    try:
        return read(path)
    except Exception as error:  # a damaged file makes its reader raise anything
        reason = [line for line in str(error).splitlines() if line.strip()][-1:] or [type(error).__name__]
        raise InputError(
            f"cannot load {path} ({reason[0][:200]}): it is damaged, or made of a class of yours that is not "
            "imported; save the generator again, or import the class first"
        ) from error


def _read_object(path):
    return keras.saving.deserialize_keras_object(json.loads(path.read_text(encoding="utf-8")))


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
