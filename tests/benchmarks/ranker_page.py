"""The page that `ranker_device` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BARS = (("auc", 0.0005), ("ndcg", 0.001))
LEAST_OVERLAP, LARGEST_SHARE = 0.98, 0.30


def quality_part(quality: Mapping[str, Any]) -> list[str]:
    """Return what 8 bit and small tables cost."""
    about, model, rows = quality["about"], quality["model"], quality["rows"]
    first = rows[0]
    return [
        "",
        "## What 8 bit costs",
        "",
        f"Measured {_where(about)}.",
        f"The ranker is `{model['network']}` on {model['schema']}, taught by {model['teachers']} larger networks: "
        f"{model['dense_parameters']:,} parameters beside "
        f"{model['table_parameters']:,} in the tables. Calibrated by "
        "the recipe `ranker` with `min_macs_share = 0.9` (it ships with 0.6, for smaller networks). "
        "All test rows are scored: AUC over all of them, NDCG@10 of each "
        "user's rows. Overlap is the share of the first 20 of up to 1,000 candidates that the float32 bundle has too, "
        "the mean of 200 requests. Size is that of the slim bundle, tables and vocabularies included, against the same "
        "bundle in float32.",
        "",
        *_table(
            ("network", "tables", "AUC", "loss", "NDCG@10", "loss", "top 20", "KB", "size", "within the bars"),
            [
                (
                    row["network"],
                    f"{row['tables']} bit",
                    f"{row['auc']:.5f}",
                    f"{first['auc'] - row['auc']:+.5f}",
                    f"{row['ndcg']:.5f}",
                    f"{first['ndcg'] - row['ndcg']:+.5f}",
                    f"{row['overlap']:.4f}",
                    f"{row['bytes'] / 1e3:.1f}",
                    f"{row['bytes'] / first['bytes']:.1%}",
                    "reference" if row is first else _verdict(row, first),
                )
                for row in rows
            ],
        ),
        "",
        f"Bars: AUC loss at most {BARS[0][1]}, NDCG@10 loss at most {BARS[1][1]}, overlap at least {LEAST_OVERLAP}, "
        f"size at most {LARGEST_SHARE:.0%}.",
        "",
        "## Targets",
        "",
        "Against floating point, over the two golden requests, tables of 8 bit. `simulated` ran in QNN's simulator; "
        "what is `measured` for an Arm core ran in ONNX Runtime on this x86-64 CPU.",
        "",
        *_table(
            ("target", "origin", "MACs in 8 bit", "order change", "NDCG", "overlap", "slim KB", "whole KB"),
            [
                (
                    name,
                    one["origin"],
                    f"{one['macs_share']:.1%}",
                    f"{one['figures']['order_change']:.2%}",
                    f"{one['figures']['ndcg']:.4f}",
                    f"{one['figures']['top_overlap']:.2f}",
                    f"{one['bytes'] / 1e3:.1f}",
                    f"{one['whole'] / 1e3:.1f}",
                )
                for name, one in quality["compiled"].items()
            ],
        ),
    ]


def times_part(times: Mapping[str, Any]) -> list[str]:
    """Return how long calls take."""
    about = times["about"]
    names = list(next(iter(times["scaling"].values())))
    return [
        "",
        "## How long a call takes",
        "",
        f"Measured {_where(about)}, LightGBM {about['lightgbm']}; one thread, all in turn within one run, "
        f"{about['note']}. `rank` gives the best 20 of 1,000 candidates for one user: from a catalogue, or from "
        "their values, which encodes them anew. LightGBM has the same columns as categories (100 trees of 63 leaves, "
        f"test AUC {times['lightgbm_auc']:.4f}) and is timed for `predict` alone, on rows that are encoded already.",
        "",
        *_table(
            ("1,000 candidates", "p50 ms", "p99 ms", "runs"),
            [
                (name, f"{one['p50'] / 1e3:.3f}", f"{one['p99'] / 1e3:.3f}", str(one["runs"]))
                for name, one in times["thousand"].items()
            ],
        ),
        "",
        "Median by number of candidates, from a catalogue, in ms:",
        "",
        *_table(
            ("candidates", *names),
            [
                (f"{int(size):,}", *(f"{one[name]['p50'] / 1e3:.3f}" for name in names))
                for size, one in times["scaling"].items()
            ],
        ),
        "",
        "Resident memory in MB, of a process of its own that has imported everything, then loaded the bundle and "
        "encoded the catalogue, and its peak in a call:",
        "",
        *_table(
            ("bundle", "candidates", "before", "loaded", "peak"),
            [
                (name, f"{int(size):,}", *(f"{one[key]:.0f}" for key in ("before", "loaded", "peak")))
                for name, sizes in times["memory"].items()
                for size, one in sizes.items()
            ],
        ),
    ]


def _verdict(row: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    missed = [name for name, limit in BARS if first[name] - row[name] > limit]
    missed += ["overlap"] if row["overlap"] < LEAST_OVERLAP else []
    missed += ["size"] if row["bytes"] > LARGEST_SHARE * first["bytes"] else []
    return f"no: {', '.join(missed)}" if missed else "yes"


def _where(about: Mapping[str, Any]) -> str:
    named = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return f"{about['date']} on {about['cpu']}; {named}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(each)} |" for each in (head, ["---"] * len(head), *rows)]
