"""What an exported folder tells of itself besides its graph: ``assets.extra/generator.json``.

TF Serving passes `assets.extra` over; clients that have the folder, such as ``tf-seq2seq generate``, read from it how texts
are split and which options search as the generator did that was exported.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from tf_seq2seq.errors import InputError

FILE = Path("assets.extra") / "generator.json"
GREEDY = {"samples": 0, "beam_size": 1, "n_best": 1, "length_penalty": "none", "coverage_penalty": "none"}
GREEDY |= {"stop": "first_finished"}
"""The options of the signature `generate` that search greedily."""


class Description(NamedTuple):
    """What is told.

    Fields:
        source_split, target_split: str, as `TextProcessor` has them.
        options: dict, the options of the signature `generate` that search as `serving_default` does; None if they cannot,
            as for a search that `generate` does not know.
    """

    source_split: str
    target_split: str
    options: Any


def write(generator, folder):
    """Writes the description of a `TextGenerator` into an exported folder."""
    path = Path(folder) / FILE
    path.parent.mkdir(exist_ok=True)
    splits = generator.source_text.split, generator.target_text.split
    told = Description(*splits, options_of(generator.strategy))._asdict()
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read(folder):
    """The `Description` of an exported folder.

    Raises:
        InputError: if it has none, or it is damaged.
    """
    path = Path(folder) / FILE
    try:
        return Description(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"cannot read {path}: export the generator again ({error})") from error


def options_of(strategy):
    """The options of the signature `generate` that search as a strategy does.

    >>> from tf_seq2seq.decoding.greedy import Greedy
    >>> options_of(Greedy(max_length=20))["beam_size"]
    1

    Args:
        strategy: any.

    Returns:
        dict of names and values of `tf_seq2seq.export.options`, or None if they cannot say it.
    """
    config = getattr(strategy, "get_config", dict)()
    options = _of_kind(type(strategy).__name__, config)
    lengths = {name: config.get(name, 1) for name in ("max_length", "min_length")}
    rules = _of_constraints(config.get("constraints", ()))
    if options is None or rules is None or not all(isinstance(length, int) for length in lengths.values()):
        return None
    return options | lengths | rules


def _of_kind(kind, config):
    if kind == "Greedy":
        return dict(GREEDY)
    if kind == "Sampling" and config["seed"] == 0:
        cuts = {
            "temperature": config["temperature"],
            "samples": config["samples"],
            "n_best": config["samples"],
        }
        off = {"top_k": 0, "top_p": 1.0, "typical": 1.0, "epsilon": 0.0}
        return cuts | {name: config[name] or none for name, none in off.items()}
    if kind == "BeamSearch":
        penalties = _length_penalty(config["length_penalty"]), _coverage_penalty(config["coverage_penalty"])
        names = ("beam_size", "n_best", "stop", "patience")
        if None not in penalties:
            return {name: config[name] for name in names} | penalties[0] | penalties[1]
    return None


def _length_penalty(saved):
    config = saved["config"]
    if config["offset"]:
        return None
    return {"length_penalty": config["name"], "alpha": config["alpha"], "beta": config["beta"]}


def _coverage_penalty(saved):
    if saved is None:
        return {"coverage_penalty": "none"}
    config = saved["config"]
    return (
        None if config["stepwise"] else {"coverage_penalty": config["name"], "coverage_beta": config["beta"]}
    )


def _of_constraints(saved):
    """Of constraints that `generate` has an option for; None if there is another."""
    from tf_seq2seq.data.vocabulary import UNK

    found = {}
    for one in saved:
        kind, config = one["class_name"], one["config"]
        if kind == "NoRepeatNGrams" and not config["exclude"]:
            found["no_repeat_ngram"] = config["size"]
        elif kind == "RepetitionPenalty":
            found["repetition_penalty"] = config["penalty"]
        elif kind == "Banned" and config["phrases"] == [[UNK]]:
            found["no_unk"] = True
        else:
            return None
    return found
