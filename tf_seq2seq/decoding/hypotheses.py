"""What a search gives back.

Shapes: **B** batch, **K** hypotheses a source, **T** target length, **S** source length.
"""

from typing import Any, NamedTuple


class Hypotheses(NamedTuple):
    """Hypotheses of each source, best first.

    Finished hypotheses come first, by falling score; then unfinished ones (the search ended before they did),
    by falling score. A source with fewer hypotheses than K, which takes a tiny vocabulary, has its last
    places empty: length 0, score -inf.

    Fields:
        ids: (B, K, T) int32, without START; END included where finished, PAD after the end.
        lengths: (B, K) int32, in tokens, END counted.
        scores: (B, K) float32, what hypotheses are ranked by: log_probs over the length penalty.
        log_probs: (B, K) float32, in nats: the sum of the model's own log-probs of `ids`.
        finished: (B, K) bool, False where the length limit came before END.
        alignments: (B, K, T, S) float32, zero after the end; None without attention.

    >>> Hypotheses._fields
    ('ids', 'lengths', 'scores', 'log_probs', 'finished', 'alignments')
    """

    ids: Any
    lengths: Any
    scores: Any
    log_probs: Any
    finished: Any
    alignments: Any
