"""The options that say which model is used, and how it comes to memory."""

from pathlib import Path

from tf_seq2seq.commands.option_types import positive
from tf_seq2seq.commands.quiet import quiet_import
from tf_seq2seq.commands.strategy import changed_strategy, check_search
from tf_seq2seq.errors import InputError

_ENSEMBLE = """\
  log_probs   log P(token) = sum_m w_m log P_m(token)  (Sutskever et al. 2014)
  probs       log P(token) = log sum_m w_m P_m(token)
"""


def add_model_option(parser):
    """Adds `--model`."""
    parser.add_argument(
        "--model", required=True, metavar="FOLDER", help="what TextGenerator.save (or make demo) wrote"
    )


def add_ensemble_options(parser):
    """Adds the options of several models that are asked together."""
    group = parser.add_argument_group("ensemble", _ENSEMBLE)
    group.add_argument(
        "--ensemble",
        nargs="+",
        action="extend",
        metavar="FOLDER",
        help="further models, asked together with --model; their text processors are the same",
    )
    group.add_argument(
        "--ensemble-weights",
        nargs="+",
        action="extend",
        type=float,
        metavar="W",
        help="w_m, of --model first; default 1/n each",
    )
    group.add_argument(
        "--ensemble-combine",
        choices=("log_probs", "probs"),
        metavar="HOW",
        help="log_probs (default) or probs",
    )


def add_unknowns_option(parser):
    """Adds `--replace-unknowns`."""
    parser.add_argument(
        "--replace-unknowns",
        nargs="?",
        const=True,
        metavar="DICTIONARY",
        help="an unknown token becomes the source word that it looked at most, or what the dictionary has "
        "for that word (source, tab, target on a line)",
    )


def add_batch_option(parser, default=32):
    """Adds `--batch-size`."""
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=default,
        metavar="LINES",
        help="lines at once (default %(default)s): more is faster and takes more memory",
    )


def add_shortlist_option(group):
    """Adds `--no-shortlist`."""
    group.add_argument(
        "--no-shortlist",
        action="store_true",
        help="choose from the whole vocabulary, even if a shortlist was saved with the model (so do --allow and "
        "--ensemble)",
    )


def add_weights_option(group):
    """Adds `--weights`."""
    group.add_argument(
        "--weights",
        choices=("float32", "bfloat16", "auto"),
        default="float32",
        help="type of the weights that are multiplied (default %(default)s; auto: what is faster on this machine); "
        "search itself computes in float32. In bfloat16 rivals within some hundredths of a nat may change places",
    )


def load_generator(options):
    """The generator of `--model`, with what the options ask for.

    Args:
        options: what the parser gave.

    Returns:
        `TextGenerator`.

    Raises:
        InputError: if the folder is not a generator or the options contradict one another.
    """
    check_model(options)
    with quiet_import():
        from tf_seq2seq.decoding.generator import TextGenerator
    generator = TextGenerator.load(options.model)
    if getattr(options, "ensemble", None):
        generator = _together(generator, options)
    if _leaves_shortlist(options) and getattr(generator, "shortlist", None) is not None:
        generator = _with(generator, shortlist=None)
    if getattr(options, "replace_unknowns", None):
        generator = _with(generator, unknowns=_replacement(options.replace_unknowns))
    if hasattr(options, "greedy"):
        target_text = getattr(generator, "target_text", None)
        strategy = changed_strategy(options, generator.strategy, target_text)
        generator = generator if strategy is None else generator.with_strategy(strategy)
    weights = _chosen(getattr(options, "weights", None))
    return generator if weights in (None, generator.weights) else generator.with_weights(weights)


def _chosen(weights):
    """The type of weights, as this machine has it where that is to be found out."""
    from tf_seq2seq.layers.precision import fastest_weights

    return fastest_weights() if weights == "auto" else weights


def check_model(options):
    """Raises InputError for what can be told before TensorFlow is there: folders and contradicting options."""
    if hasattr(options, "greedy"):
        check_search(options)
    further = getattr(options, "ensemble", None)
    for name in ("ensemble_weights", "ensemble_combine"):
        if getattr(options, name, None) and not further:
            raise InputError(f"--{name.replace('_', '-')} is for --ensemble: give further models")
    for flag, folder in [("--model", options.model), *(("--ensemble", folder) for folder in further or ())]:
        if not Path(folder).is_dir():
            raise InputError(
                f"there is no folder {folder}: give {flag} a folder that TextGenerator.save wrote"
            )


def _leaves_shortlist(options):
    """A shortlist is one model's, and knows nothing of what is allowed."""
    return any(getattr(options, name, None) for name in ("no_shortlist", "allow"))


def _together(first, options):
    """The generator of an ensemble."""
    from tf_seq2seq.decoding.ensemble import Ensemble
    from tf_seq2seq.decoding.generator import TextGenerator

    models = [first.model]
    for folder in options.ensemble:
        other = TextGenerator.load(folder)
        _check_same(options.model, first, folder, other)
        models.append(other.model)
    combine = options.ensemble_combine or "log_probs"
    return _with(first, model=Ensemble(models, options.ensemble_weights, combine), shortlist=None)


def _with(generator, **parts):
    """Another generator with some parts changed."""
    from tf_seq2seq.decoding.generator import TextGenerator

    names = ("model", "source_text", "target_text", "strategy", "shortlist", "unknowns", "weights")
    return TextGenerator(**{name: getattr(generator, name) for name in names} | parts)


def _replacement(dictionary):
    from tf_seq2seq.decoding.unknowns import UnknownReplacement

    return UnknownReplacement(None if dictionary is True else dictionary)


def _check_same(name, generator, other_name, other):
    """Raises InputError unless two generators split texts in the same way."""
    for side in ("source", "target"):
        first, second = (getattr(one, f"{side}_text") for one in (generator, other))
        for what in ("split", "lowercase", "normalize", "add_end"):
            values = getattr(first, what), getattr(second, what)
            if values[0] != values[1]:
                raise InputError(_differ(side, name, other_name, f"{what} is {values[0]} and {values[1]}"))
        tokens = first.vocabulary.tokens, second.vocabulary.tokens
        pieces = (getattr(one.pieces, "model", None) for one in (first, second))
        if tokens[0] != tokens[1]:
            raise InputError(_differ(side, name, other_name, "other vocabularies"))
        if len({*pieces}) > 1:
            raise InputError(_differ(side, name, other_name, "other SentencePiece models"))


def _differ(side, name, other_name, how):
    return (
        f"the {side} text processors of {name} and {other_name} differ ({how}): an ensemble's models are "
        "trained with the same processors"
    )
