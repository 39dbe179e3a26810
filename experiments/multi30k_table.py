"""Joins the result files of `translate_multi30k.py` into one, and writes their table into the README beside this file.

python experiments/multi30k_table.py
"""

import json
from pathlib import Path

from marked_tables import with_table

HERE = Path(__file__).resolve().parent
LADDER = ["plain", "cho", "bahdanau", "luong", "gnmt", "best"]
MARKS = "<!-- multi30k: made by multi30k_table.py -->", "<!-- multi30k: end -->"
OVER_SEEDS = ["val_bleu_lc", "test_bleu_lc", "test_bleu_13a", "test_bleu_tok_lc"]
SAME = ["pair", "model", "parameters", "minutes", "threads", "signature", "hardware"]


def joined(results):
    """One row a pair and model, with lists over the seeds.

    >>> one = dict.fromkeys(SAME, "") | dict.fromkeys(OVER_SEEDS, 40.0) | {"seed": 1, "commit": "a", "model": "best"}
    >>> joined([one, one | {"seed": 2, "test_bleu_lc": 41.0}])[0]["test_bleu_lc"]
    [40.0, 41.0]
    """
    groups = {}
    for result in sorted(results, key=lambda one: one["seed"]):
        groups.setdefault((result["pair"], LADDER.index(result["model"])), []).append(result)
    rows = []
    for _, group in sorted(groups.items()):
        row = {name: group[0][name] for name in SAME} | {"seeds": [one["seed"] for one in group]}
        row |= {name: [one[name] for one in group] for name in OVER_SEEDS}
        rows.append(row | {"commit": sorted({one["commit"] for one in group})})
    return rows


def table(rows):
    """The rows in Markdown; of several seeds the mean, and the range of the first score."""
    lines = [
        "| pair | model | parameters | minutes x cores | seeds | val, lc | test, lc | test, cased | test, tokenised lc |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        means = [mean(row[name]) for name in OVER_SEEDS]
        if len(row["seeds"]) > 1:
            means[1] += f" ({min(row['test_bleu_lc']):.1f} to {max(row['test_bleu_lc']):.1f})"
        cells = [row["pair"], row["model"], f"{row['parameters'] / 1e6:.1f} M"]
        cells += [f"{row['minutes']:g} x {row['threads']}", len(row["seeds"]), *means]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def mean(values):
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.1f}" if known else ""


def main():
    files = sorted((HERE / "results" / "multi30k").glob("*.json"))
    rows = joined([json.loads(file.read_text(encoding="utf8")) for file in files])
    (HERE / "results" / "multi30k.json").write_text(
        json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf8"
    )
    readme = HERE / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf8"), table(rows), MARKS), encoding="utf8")
    print(table(rows))


if __name__ == "__main__":
    main()
