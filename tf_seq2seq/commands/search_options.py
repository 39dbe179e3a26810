"""The options that say how is searched, in groups, with their formulas."""

from tf_seq2seq.commands.option_types import count, factor, length, positive, share, strength

_SEARCH = """\
Beam search keeps the K likeliest beginnings at every step; the hypothesis
with the best score wins (see penalties). What is not given stays as it was
saved with the model; options of beam search ask for one where another search
was saved.
"""
_STOPPING = """\
A source is done in a beam search when
  optimal         no live hypothesis can still win: as good as never stopping
  all_finished    K hypotheses are finished
  patience        K * P hypotheses are finished (Kasai et al. 2022)
  first_finished  one hypothesis is finished
"""
_PENALTIES = """\
A hypothesis of L tokens (END counted, plus --length-offset) has the score
  none         log P                                     prefers short ones
  average      log P / L^alpha                           alpha 1 by default
  gnmt         log P / ((5 + L) / 6)^alpha               0.6 (Wu et al. 2016)
  gnmt_tf      log P / ((5 + L + 1) / 6)^alpha           0.6
  sockeye      log P / ((beta + L) / (beta + 1))^alpha   1
  word_reward  log P + alpha * L                         1
To it is added, with c_i the attention that source token i has had from all
target tokens, S source tokens and B the --coverage-beta,
  gnmt         B * sum_i log(min(c_i, 1))                B 0.2 by default
  summary      -B * (sum_i max(c_i, 1) - S)              0.2
"""
_SAMPLING = """\
  token ~ cut(softmax(log P / T))
Cut-offs come in the order of these options, and each renormalises. Scores
are the model's own log P. A line draws by the seed and its own words alone:
it comes out the same whatever is beside it.
"""
_CONSTRAINTS = """\
What may not be said has log P = -inf when tokens are chosen; nothing is
renormalised: log P stays the model's own. These options take the place of
saved ones of their kind, but bans come together.
"""


def add_search_options(parser, n_best="hypotheses for a source, at most K"):
    """Adds the options that replace the saved strategy or parts of it.

    Args:
        parser: `argparse.ArgumentParser`.
        n_best: what ``--n-best`` means to the command.
    """
    _add_search(parser.add_argument_group("search", _SEARCH), n_best)
    _add_stopping(parser.add_argument_group("stopping", _STOPPING))
    _add_penalties(parser.add_argument_group("penalties", _PENALTIES))
    _add_sampling(parser.add_argument_group("sampling", _SAMPLING))
    _add_lengths(parser.add_argument_group("lengths"))
    _add_constraints(parser.add_argument_group("constraints", _CONSTRAINTS))


def _add_search(group, n_best):
    group.add_argument(
        "--greedy", action="store_true", help="the likeliest token at every step: argmax log P(token)"
    )
    group.add_argument(
        "--beam-size",
        type=positive,
        metavar="K",
        help="beginnings kept at every step, by the sum of log P(token)",
    )
    group.add_argument("--n-best", type=positive, metavar="N", help=n_best)
    group.add_argument(
        "--groups",
        type=positive,
        metavar="G",
        help="diverse beam search: G groups of K/G beginnings, chosen one after the other (Vijayakumar et al. "
        "2018)",
    )
    group.add_argument(
        "--diversity",
        type=strength,
        metavar="D",
        help="rank = log P - D * times that groups before took the token at this step; in nats, default 0.5",
    )
    group.add_argument(
        "--stochastic",
        action="store_true",
        help="stochastic beam search: K different targets, drawn without replacement; those with the largest "
        "log Q + Gumbel noise, Q = softmax(log P / T) (Kool et al. 2019)",
    )


def _add_stopping(group):
    rules = ("optimal", "all_finished", "patience", "first_finished")
    group.add_argument("--stop", choices=rules, metavar="RULE", help="one of these four")
    group.add_argument(
        "--patience", type=factor, metavar="P", help="factor of the rule patience, which it asks for"
    )


def _add_penalties(group):
    names = ("none", "average", "gnmt", "gnmt_tf", "sockeye", "word_reward")
    group.add_argument("--length-penalty", choices=names, metavar="NAME", help="one of the first six")
    group.add_argument("--alpha", type=float, metavar="A", help="its strength; 0 is none")
    group.add_argument("--beta", type=float, metavar="B", help="constant of sockeye, in tokens; default 0")
    group.add_argument(
        "--length-offset",
        type=int,
        metavar="TOKENS",
        help="added to L: -1 leaves END out, 1 counts the start; default 0",
    )
    group.add_argument(
        "--coverage-penalty",
        choices=("none", "gnmt", "summary"),
        metavar="NAME",
        help="none, gnmt or summary; needs a model with attention",
    )
    group.add_argument("--coverage-beta", type=strength, metavar="B", help="its strength, in nats")
    group.add_argument("--stepwise", action="store_true", help="it ranks live hypotheses, too, at every step")


def _add_sampling(group):
    group.add_argument(
        "--sample",
        type=positive,
        metavar="N",
        help="draw N targets for a source; the likeliest of them counts as the best, --n-best N gives all",
    )
    group.add_argument(
        "--temperature", type=factor, metavar="T", help="below 1 the likely become likelier; default 1"
    )
    group.add_argument(
        "--top-k", type=positive, metavar="K", help="cut: the K likeliest tokens (Fan et al. 2018)"
    )
    group.add_argument(
        "--top-p",
        type=share,
        metavar="P",
        help="cut: the fewest likeliest tokens with sum of p >= P (Holtzman et al. 2020)",
    )
    group.add_argument(
        "--typical",
        type=share,
        metavar="P",
        help="cut: the fewest tokens with sum of p >= P, least |-log p - entropy| first (Meister et al. 2023)",
    )
    group.add_argument(
        "--epsilon",
        type=share,
        metavar="E",
        help="cut: tokens with p >= E, and the likeliest (Hewitt et al. 2022)",
    )
    group.add_argument("--seed", type=int, metavar="I", help="another whole number draws anew; default 0")


def _add_lengths(group):
    group.add_argument(
        "--max-length",
        type=length,
        metavar="N|A,B",
        help="the most tokens, END counted: N, or A * S + B for a source of S tokens, END counted",
    )
    group.add_argument(
        "--min-length", type=length, metavar="N|A,B", help="the fewest, likewise; END is not said before"
    )


def _add_constraints(group):
    group.add_argument(
        "--no-repeat-ngram",
        type=count,
        metavar="N",
        help="no N tokens in a row twice in a target (Paulus et al. 2018); 0: may be",
    )
    group.add_argument(
        "--repeat-tokens",
        nargs="+",
        action="extend",
        metavar="TOKEN",
        help="N tokens with one of these among them may be repeated, e.g. signs: tokens of the target "
        "vocabulary, texts that give them, or their ids as #12",
    )
    group.add_argument(
        "--repetition-penalty",
        type=factor,
        metavar="R",
        help="a token said before is chosen by R * log P(token), of which the scores of a beam are made, too "
        "(Keskar et al. 2019); 1 is none",
    )
    group.add_argument(
        "--ban",
        action="append",
        metavar="FILE|TEXT",
        help="a word or phrase that may not appear, or a file with one a line: as the target processor splits "
        "it at the beginning of a text and after a word. Can be given again",
    )
    group.add_argument("--no-unk", action="store_true", help="the unknown token may not appear")
    group.add_argument(
        "--allow", metavar="FILE", help="the only targets that may come out, one a line, each to its END"
    )
