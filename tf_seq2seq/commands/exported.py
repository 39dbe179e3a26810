"""The options of ``tf-seq2seq generate`` where its model is an exported folder: they become inputs of its graph."""

from pathlib import Path

from tf_seq2seq.commands.constraints import banned_texts
from tf_seq2seq.commands.quiet import quiet_import
from tf_seq2seq.errors import InputError
from tf_seq2seq.export.description import GREEDY

_SAME = (
    "beam_size",
    "n_best",
    "length_penalty",
    "alpha",
    "beta",
    "coverage_penalty",
    "coverage_beta",
    "stop",
)
_SAME += ("patience", "temperature", "top_k", "top_p", "typical", "epsilon", "min_length", "max_length")
_SAME += ("no_repeat_ngram", "repetition_penalty")
_MISSING = ("groups", "diversity", "stochastic", "length_offset", "stepwise", "repeat_tokens", "allow")
_MISSING += ("ensemble", "replace_unknowns", "no_shortlist", "batch_tokens", "self_check")


def is_exported(folder):
    """Whether a folder is an exported version, or has such versions in it."""
    folder = Path(folder)
    return any(path.is_file() for path in (folder / "saved_model.pb", *folder.glob("*/saved_model.pb")))


def check_options(options):
    """Raises InputError for options that an exported folder does not have, before TensorFlow is there."""
    given = _given(options)
    missing = [f"--{name.replace('_', '-')}" for name in _MISSING if name in given]
    if missing:
        raise InputError(
            f"an exported folder has no {', '.join(missing)}: leave it out, or give --model what TextGenerator.save wrote"
        )
    for name in ("max_length", "min_length"):
        if isinstance(given.get(name), tuple):
            raise InputError(f"--{name.replace('_', '-')} is a number of tokens with an exported folder")


def load_exported(options):
    """The generator of an exported folder with the options of a search.

    Args:
        options: what the parser gave.

    Returns:
        `ExportedGenerator`.

    Raises:
        InputError: if it cannot be loaded.
    """
    asked = _asked(options)
    with quiet_import():
        from tf_seq2seq.serving.exported_generator import ExportedGenerator
    return ExportedGenerator(options.model, banned_texts(options), options.seed or 0, **asked)


def _given(options):
    return {name: value for name, value in vars(options).items() if value not in (None, False)}


def _asked(options):
    """The options of the graph that are given, by its names."""
    given = _given(options)
    asked = dict(GREEDY) if options.greedy else {}
    asked |= {name: given[name] for name in _SAME if name in given}
    if options.no_repeat_ngram == 0:
        asked["no_repeat_ngram"] = 0
    if options.patience is not None:
        asked["stop"] = "patience"
    if options.no_unk:
        asked["no_unk"] = True
    return asked | _width(options)


def _width(options):
    """Samples and beam size go with how many hypotheses are given back."""
    if options.sample:
        return {"samples": options.sample, "n_best": options.sample}
    if options.beam_size:
        return {"samples": 0, "n_best": options.n_best or 1}
    return {}
