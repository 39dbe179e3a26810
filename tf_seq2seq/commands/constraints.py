"""From the options of constraints to constraints: texts are split as the target's processor splits them."""

import itertools
import re
from pathlib import Path

from tf_seq2seq.data import reading
from tf_seq2seq.errors import InputError

_WORD = "a"  # what stands beside a phrase when it is split inside a text
_TEXT_FILES = {".txt", ".tsv", ".csv", ".gz", ".zip"}


def check_constraints(options):
    """Raises InputError for files that are not there, before a model is loaded."""
    for text in options.ban or ():
        looks_like_one = "/" in text or Path(text).suffix in _TEXT_FILES
        if looks_like_one and " " not in text and not Path(text).is_file():
            raise InputError(
                f"--ban: there is no file {text}; a text that is a file's name goes into a file itself"
            )
    if options.allow is not None:
        next(reading.lines(options.allow))


def changed_constraints(options, saved, target_text):
    """The argument `constraints` of a strategy, or nothing where no option asks for any.

    A constraint takes the place of saved ones of its kind; only bans come together.

    Args:
        options: what the parser gave.
        saved: the saved constraints or their configurations.
        target_text: `TextProcessor` of the target.

    Raises:
        InputError: if a text cannot be said by the model, or there is no such token.
    """
    from tf_seq2seq.decoding.constraints import NoRepeatNGrams, RepetitionPenalty
    from tf_seq2seq.decoding.rules import Rules
    from tf_seq2seq.decoding.trie import Trie

    saved = Rules(saved).constraints
    changes = {
        NoRepeatNGrams: _no_repeat(options, saved, target_text),
        RepetitionPenalty: _repetition_penalty(options),
        Trie: _allowed(options, target_text),
    }
    changes = {kind: new for kind, new in changes.items() if new is not None}
    banned = _banned(options, target_text)
    if not (changes or banned):
        return {}
    kept = [one for one in saved if type(one) not in changes]
    return {"constraints": [*kept, *(one for new in changes.values() for one in new), *banned]}


def banned_texts(options):
    """The texts of `--ban` and of its files: list of str."""
    phrases = []
    for text in options.ban or ():
        phrases += reading.lines(text) if Path(text).is_file() else [text]
    return [phrase.strip() for phrase in phrases if phrase.strip()]


def phrase_forms(phrases, target_text):
    """The ways in which a processor splits phrases: alone, beside words, and close to words if they are signs.

    >>> from tf_seq2seq.data.text import TextProcessor
    >>> text = TextProcessor.fit(["well - known", "well-known"], "words")
    >>> [[text.vocabulary.token(token) for token in form] for form in phrase_forms(["-"], text)[0]]
    [['-'], ['￭-￭']]

    Args:
        phrases: list of str.
        target_text: `TextProcessor`.

    Returns:
        a list for each phrase, of lists of ids without END; forms that have an unknown token in them are left out.
    """
    from tf_seq2seq.data.vocabulary import UNK

    contexts = [[*_contexts(phrase)] for phrase in phrases]
    wholes = zip(phrases, contexts)
    texts = {left + phrase + right for phrase, beside in wholes for left, right in beside}
    texts |= {text for beside in contexts for pair in beside for text in pair}
    ids = dict(zip(texts, _ids([*texts], target_text)))
    found = []
    for phrase, beside in zip(phrases, contexts):
        forms = (_between(ids[left], ids[left + phrase + right], ids[right]) for left, right in beside)
        found.append([*dict.fromkeys(form for form in forms if form and UNK not in form)])
    return [[[*form] for form in forms] for forms in found]


def _contexts(phrase):
    """What may stand before and after a phrase, as pairs."""
    lefts = ["", f"{_WORD} "] + [_WORD] * (not phrase[:1].isalnum())
    rights = ["", f" {_WORD}"] + [_WORD] * (not phrase[-1:].isalnum())
    return itertools.product(lefts, rights)


def _between(before, whole, after):
    """A tuple of the ids between others; empty where these are split in another way there."""
    end = len(whole) - len(after)
    return tuple(whole[len(before) : end]) if whole[: len(before)] == before and whole[end:] == after else ()


def _no_repeat(options, saved, target_text):
    from tf_seq2seq.decoding.constraints import NoRepeatNGrams

    if options.no_repeat_ngram is None and options.repeat_tokens is None:
        return None
    if options.no_repeat_ngram == 0:
        return []
    old = next((one for one in saved if isinstance(one, NoRepeatNGrams)), None)
    size = options.no_repeat_ngram or (old and old.size)
    if size is None:
        raise InputError("--repeat-tokens are exceptions to --no-repeat-ngram N: give that, too")
    exclude = old.exclude if old else ()
    if options.repeat_tokens is not None:
        exclude = sorted({one for text in options.repeat_tokens for one in _tokens(text, target_text)})
    return [NoRepeatNGrams(size, exclude)]


def _tokens(text, target_text):
    """The ids that an exception names: a token, a text that is split into some, or ``#id``."""
    if re.fullmatch(r"#\d+", text):
        token = int(text[1:])
        if token >= target_text.vocab_size:
            raise InputError(
                f"--repeat-tokens: {text} is no id; the target vocabulary has {target_text.vocab_size}"
            )
        return {token}
    names = target_text.vocabulary.tokens
    found = {names.index(text)} if text in names else set()
    found.update(token for form in phrase_forms([text], target_text)[0] for token in form)
    if not found:
        raise InputError(f"--repeat-tokens: the target vocabulary has no token {text!r}; leave it out")
    return found


def _repetition_penalty(options):
    from tf_seq2seq.decoding.constraints import RepetitionPenalty

    if options.repetition_penalty is None:
        return None
    return [RepetitionPenalty(options.repetition_penalty)] if options.repetition_penalty != 1 else []


def _banned(options, target_text):
    from tf_seq2seq.data.vocabulary import UNK
    from tf_seq2seq.decoding.constraints import Banned

    phrases = banned_texts(options)
    forms = [form for forms in phrase_forms(phrases, target_text) for form in forms] if phrases else []
    forms += [[UNK]] * options.no_unk
    return [Banned(forms)] if forms else []


def _allowed(options, target_text):
    from tf_seq2seq.data.vocabulary import UNK
    from tf_seq2seq.decoding.trie import Trie

    if options.allow is None:
        return None
    lines = [line for line in reading.lines(options.allow) if line.strip()]
    sequences = _ids(lines, target_text)
    for line, ids in zip(lines, sequences):
        if UNK in ids:
            raise InputError(
                f"{options.allow}: {line[:60]!r} has a token that the target vocabulary lacks, so the model "
                "cannot say it; leave it out"
            )
    return [Trie(sequences)]


def _ids(texts, target_text):
    """Lists of ids without END."""
    from tf_seq2seq.data.vocabulary import END

    return [[token for token in row if token != END] for row in target_text.ids(texts).to_list()]
