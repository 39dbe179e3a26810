"""An exported folder as a generator of any number of texts, in this process."""

import hashlib

from tf_seq2seq.decoding.batching import in_batches
from tf_seq2seq.decoding.generated import GeneratedSentence
from tf_seq2seq.errors import InputError
from tf_seq2seq.export import description
from tf_seq2seq.serving.exported_model import ExportedModel
from tf_seq2seq.serving.inputs import generated_in_batches
from tf_seq2seq.serving.tensors import decoded


class ExportedGenerator:
    """What `tf_seq2seq.export_saved_model` wrote, to be used as `TextGenerator.generate_all` is.

    Args:
        folder: path of a version, or of the folder of versions, of which the highest is taken.
        banned: words and phrases, list of str, that no target has.
        seed: int, joined to each text's words for its seed, where samples are drawn; 0: its words alone are it.
        **options: of the signature `generate`, for all texts; those that are left out are as the generator searched that was
            exported.

    Raises:
        InputError: if there is no SavedModel, or it was not exported with options.
    """

    def __init__(self, folder, banned=(), seed=0, **options):
        self._model = ExportedModel(folder)
        self._description = description.read(self._model.folder)
        if "generate" not in self._model.inputs:
            raise InputError(f"{folder} has no signature `generate`: export the generator again")
        if self._description.options is None and not options:
            raise InputError(
                f"{folder} searches in a way that `generate` has no options for: name another search, such as a beam size"
            )
        self._banned = [*banned]
        self._seed = int(seed)
        self._options = (self._description.options or {}) | options

    def generate_all(self, texts, batch_size=32, window=16, batch_tokens=None, done=None, **conditions):
        """Generates for any number of texts in constant memory.

        Args:
            texts: an iterable of str, read once.
            batch_size, window, batch_tokens, done: as `TextGenerator.generate_all` has them; but lengths are those in
                characters.
            **conditions: `prefix` (str), `phrases` (lists of str): iterables with one value for each text.

        Yields:
            `GeneratedSentence`, one for each text, in their order.

        Raises:
            InputError: with the model's own message for an option or a condition that it refuses.
        """
        names = [*conditions]

        def answer(items):
            texts, *values = zip(*items)
            options = self._options | dict(zip(names, map(list, values))) | self._of_texts(texts)
            return [*map(self._sentence, generated_in_batches(self._run, texts, options, len(texts)))]

        lengths = lambda items: [len(text) for text, *_ in items]
        items = zip(texts, *conditions.values(), strict=bool(conditions))
        return in_batches(items, lengths, answer, batch_size, batch_tokens, window, done)

    def _of_texts(self, texts):
        """The options that have a value for each text and are the same, or of the same making, for all."""
        found = {"banned": [self._banned] * len(texts)} if self._banned else {}
        return found | {"seeds": [_seed(self._seed, text) for text in texts]} if self._seed else found

    def _run(self, signature, inputs):
        return {name: decoded(array) for name, array in self._model(signature, inputs).items()}

    def _sentence(self, one):
        return GeneratedSentence(
            **{name: getattr(one, name) for name in GeneratedSentence._fields if hasattr(one, name)},
            source_split=self._description.source_split,
            target_split=self._description.target_split,
        )


def _seed(seed, text):
    """A seed of a text: of its words and of another seed."""
    digest = hashlib.blake2b(f"{seed} {text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
