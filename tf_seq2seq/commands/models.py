"""The options that say which model is used and how it searches."""

import argparse
from pathlib import Path

from tf_seq2seq.commands.quiet import quiet_import
from tf_seq2seq.errors import InputError

PENALTIES = """\
A hypothesis of L tokens (END counted) with log-probability log P gets the score

  --length-penalty none      log P                      prefers short hypotheses
  --length-penalty average   log P / L^alpha            alpha 1 by default
  --length-penalty gnmt      log P / ((5 + L) / 6)^alpha    alpha 0.6 by default (Wu et al. 2016, eq. 14)

and the best score wins. Beam search keeps the --beam-size best beginnings at every step; --greedy takes the
likeliest token at every step, which is faster. What is not given is as it was saved with the model.
"""


def add_model_option(parser):
    """Adds `--model`."""
    parser.add_argument(
        "--model", required=True, metavar="FOLDER", help="what TextGenerator.save (or make demo) wrote"
    )


def add_search_options(parser):
    """Adds the options that replace the saved strategy, and explains them in the description."""
    parser.description += "\n" + PENALTIES
    group = parser.add_argument_group("search")
    group.add_argument("--greedy", action="store_true", help="greedy search instead of beam search")
    group.add_argument("--beam-size", type=positive, metavar="K", help="hypotheses kept at every step")
    group.add_argument("--length-penalty", metavar="NAME", help="none, average or gnmt; see above")
    group.add_argument("--alpha", type=float, metavar="A", help="strength of the length penalty; 0 is none")
    group.add_argument(
        "--max-length", type=positive, metavar="TOKENS", help="longest hypothesis, END counted"
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


def positive(text):
    """The type of an option that is a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"give a whole number above 0, not {text}")
    return number


def load_generator(options, n_best=None):
    """The generator of `--model`, with the strategy that the options ask for.

    Args:
        options: what the parser gave.
        n_best: hypotheses wanted for each source; None for what was saved.

    Returns:
        `TextGenerator`.

    Raises:
        InputError: if the folder is not a generator or the options contradict one another.
    """
    if not Path(options.model).is_dir():
        raise InputError(
            f"there is no folder {options.model}: give --model a folder that TextGenerator.save wrote"
        )
    with quiet_import():
        from tf_seq2seq.decoding.generator import TextGenerator
    generator = TextGenerator.load(options.model)
    strategy = _strategy(options, generator.strategy, n_best) if hasattr(options, "greedy") else None
    if strategy is None:
        return generator
    return generator.with_strategy(strategy)


def _strategy(options, saved, n_best):
    """The strategy that the options ask for, or None for the saved one."""
    from tf_seq2seq.decoding.beam_search import BeamSearch
    from tf_seq2seq.decoding.greedy import Greedy

    beam = {"beam_size": options.beam_size, "length_penalty": _penalty(options, saved), "n_best": n_best}
    beam = {name: value for name, value in beam.items() if value is not None}
    length = {} if options.max_length is None else {"max_length": options.max_length}
    if options.greedy and beam:
        raise InputError("--greedy goes without beam size, n-best and length penalty: leave one of them out")
    if not (options.greedy or beam or length):
        return None
    kind = Greedy if options.greedy else BeamSearch if beam else type(saved)
    return kind(**{**_config(saved, kind, beam), **beam, **length})


def _config(saved, kind, changes):
    """What the saved strategy says and the wanted kind understands."""
    config = saved.get_config()
    if not isinstance(saved, kind):
        return {name: config[name] for name in ("max_length",) if name in config}
    if "beam_size" in changes and config.get("n_best", 0) > changes["beam_size"]:
        config["n_best"] = None
    return config


def _penalty(options, saved):
    """A `LengthPenalty`, or None for the saved one."""
    from tf_seq2seq.decoding.penalties import LengthPenalty

    if options.length_penalty is None and options.alpha is None:
        return None
    name = options.length_penalty or getattr(getattr(saved, "length_penalty", None), "name", "gnmt")
    return LengthPenalty(name, options.alpha)
