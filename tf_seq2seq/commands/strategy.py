"""From the options of a search and the strategy that was saved to the strategy that is wanted."""

from tf_seq2seq.commands.constraints import changed_constraints, check_constraints
from tf_seq2seq.errors import InputError

_BEAM = ("beam_size", "n_best", "stop", "patience")
_PENALTIES = (
    "length_penalty",
    "alpha",
    "beta",
    "length_offset",
    "coverage_penalty",
    "coverage_beta",
    "stepwise",
)
_TAKES = {
    "Greedy": (),
    "BeamSearch": (*_BEAM, *_PENALTIES),
    "DiverseBeamSearch": (*_BEAM, *_PENALTIES, "groups", "diversity"),
    "StochasticBeamSearch": ("stochastic", "beam_size", "n_best", "temperature", "seed"),
    "Sampling": ("sample", "n_best", "temperature", "top_k", "top_p", "typical", "epsilon", "seed"),
}
_ASKS_FOR = {
    "greedy": "Greedy",
    "groups": "DiverseBeamSearch",
    "stochastic": "StochasticBeamSearch",
    "sample": "Sampling",
}
_NAMES = {name for names in _TAKES.values() for name in names}
_DRAWN = ("StochasticBeamSearch", "Sampling")
_PLAIN = ("beam_size", "n_best", "stop", "patience", "groups", "diversity", "temperature")
_PLAIN += ("top_k", "top_p", "typical", "epsilon", "seed", "max_length", "min_length")


def check_search(options):
    """Raises InputError for options of a search that contradict one another, whatever was saved."""
    _asked(options)
    check_constraints(options)
    if options.patience is not None and options.stop not in (None, "patience"):
        raise InputError(f"--patience is for --stop patience, not for {options.stop}: leave one of them out")
    if options.beta is not None and options.length_penalty not in (None, "sockeye"):
        raise InputError(f"--beta is for --length-penalty sockeye, not for {options.length_penalty}")
    if options.coverage_penalty == "none" and (options.coverage_beta is not None or options.stepwise):
        raise InputError(
            "--coverage-beta and --stepwise are for a coverage penalty: --coverage-penalty is none"
        )


def changed_strategy(options, saved, target_text):
    """The strategy that the options ask for, or None for the saved one.

    Args:
        options: what the parser gave.
        saved: the strategy that was saved.
        target_text: `TextProcessor` of the target, which splits what is banned or allowed.

    Raises:
        InputError: if an option does not fit the others or the saved strategy.
    """
    kind, old = _kind(options, saved), saved.get_config()
    changes = _changes(options, old, target_text)
    if kind.__name__ in _DRAWN:
        changes.pop("n_best", None)  # all is given back; how much of it is written is the command's matter
    same = kind is type(saved)
    strategy = kind.from_config({**_kept(old, kind, same, changes), **changes})
    _check_drawn(options, strategy)
    return None if same and strategy.get_config() == old else strategy


def _given(options):
    """The names of the options of a search that were given, in the order of the help."""
    return [name for name, value in vars(options).items() if name in _NAMES and value not in (None, False)]


def _asked(options):
    """The name of the class that the options name, or None."""
    asks = [name for name in _ASKS_FOR if getattr(options, name)]
    if len(asks) > 1:
        raise InputError(f"{_flag(asks[0])} and {_flag(asks[1])} are two searches: leave one of them out")
    if not asks:
        return None
    kind = _ASKS_FOR[asks[0]]
    others = [_flag(name) for name in _given(options) if name not in _TAKES[kind]]
    if others:
        raise InputError(f"{_flag(asks[0])} goes without {', '.join(others)}: leave one or the other out")
    return kind


def _kind(options, saved):
    """The class of the strategy: the one named, else the saved one if it knows the options, else `BeamSearch`."""
    asked, own = _asked(options), type(saved).__name__
    names = _given(options)
    given = {*names}
    if asked is None and (not given or given <= {*_TAKES.get(own, ())}):
        return type(saved)
    if asked is None and not given <= {*_TAKES["BeamSearch"]}:
        raise InputError(_homeless(names))
    return _classes()[asked or "BeamSearch"]


def _homeless(names):
    """What is told of options for which no search was named."""
    asks = {kind: _flag(name) for name, kind in _ASKS_FOR.items()}
    fits = [asks[kind] for kind, takes in _TAKES.items() if kind in asks and {*names} <= {*takes}]
    told = ", ".join(map(_flag, names))
    if not fits:
        return f"no one search takes all of {told}: leave some of them out"
    return f"the saved search knows no {told}: give {' or '.join(fits)}, too"


def _changes(options, old, target_text):
    """The arguments of the strategy that the options give anew."""
    changes = {name: getattr(options, name) for name in _PLAIN} | {"samples": options.sample}
    changes["stop"] = "patience" if options.patience is not None else options.stop
    changes = {name: value for name, value in changes.items() if value is not None}
    changes |= _length_penalty(options, old) | _coverage_penalty(options, old)
    return changes | changed_constraints(options, old.get("constraints", ()), target_text)


def _kept(old, kind, same, changes):
    """What the saved strategy says and the wanted kind understands."""
    names = old if same else kind().get_config()
    unknown = ", ".join(_flag(name) for name in sorted(changes.keys() - names.keys()))
    if unknown:
        raise InputError(f"the saved search, {kind.__name__}, has no {unknown}: name another one")
    kept = {name: old[name] for name in names if name in old}
    if (kept.get("n_best") or 0) > changes.get("beam_size", kept.get("beam_size", 0)):
        kept["n_best"] = None  # all
    return kept


def _length_penalty(options, old):
    """A penalty that is named has its own defaults; one that is not keeps what was saved."""
    from tf_seq2seq.decoding.penalties import LengthPenalty, as_length_penalty

    numbers = {"alpha": options.alpha, "beta": options.beta, "offset": options.length_offset}
    numbers = {name: value for name, value in numbers.items() if value is not None}
    if options.length_penalty is None and not numbers:
        return {}
    config = {"name": options.length_penalty}
    if options.length_penalty is None:
        config = as_length_penalty(old.get("length_penalty") or LengthPenalty()).get_config()
    if options.beta is not None and config["name"] != "sockeye":
        raise InputError(f"--beta is for --length-penalty sockeye, not for {config['name']}: leave it out")
    return {"length_penalty": LengthPenalty(**{**config, **numbers})}


def _coverage_penalty(options, old):
    from tf_seq2seq.decoding.coverage import CoveragePenalty, as_coverage_penalty

    numbers = {"beta": options.coverage_beta, "stepwise": options.stepwise or None}
    numbers = {name: value for name, value in numbers.items() if value is not None}
    if options.coverage_penalty == "none":
        return {"coverage_penalty": None}
    if options.coverage_penalty is None and not numbers:
        return {}
    config = {"name": options.coverage_penalty}
    if options.coverage_penalty is None:
        saved = as_coverage_penalty(old.get("coverage_penalty"))
        if saved is None:
            raise InputError("--coverage-beta and --stepwise need a --coverage-penalty: gnmt or summary")
        config = saved.get_config()
    return {"coverage_penalty": CoveragePenalty(**{**config, **numbers})}


def _check_drawn(options, strategy):
    """Raises InputError if more hypotheses are asked for than are drawn."""
    drawn = strategy.get_config().get("samples") or getattr(strategy, "beam_size", None)
    if options.n_best and drawn and options.n_best > drawn:
        raise InputError(f"--n-best is {options.n_best}, but there are only {drawn} hypotheses of a source")


def _classes():
    from tf_seq2seq.decoding.beam_search import BeamSearch
    from tf_seq2seq.decoding.diverse_beam_search import DiverseBeamSearch
    from tf_seq2seq.decoding.greedy import Greedy
    from tf_seq2seq.decoding.sampling import Sampling
    from tf_seq2seq.decoding.stochastic_beam_search import StochasticBeamSearch

    kinds = (BeamSearch, DiverseBeamSearch, Greedy, Sampling, StochasticBeamSearch)
    return {kind.__name__: kind for kind in kinds}


def _flag(name):
    return f"--{name.replace('_', '-')}"
