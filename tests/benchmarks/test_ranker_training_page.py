from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.ranker import CASES
from tests.benchmarks.ranker_training_page import chosen, page


def test_the_page_says_what_was_measured(root: Path) -> None:
    results = json.loads((root / "docs" / "ranker_accuracy.json").read_text())
    assert page(results, CASES) == (root / "docs" / "ranker_accuracy.md").read_text()
    assert {row.rsplit("/", 1)[0] for row in results["rows"]} <= CASES.keys()


def test_a_bar_is_reached_by_three_seeds_before_rounding() -> None:
    row = {"logloss": 0.1, "gauc": 0.9, "ece": 0.0, "epochs": 1, "seconds": 1, "best": None}
    row |= {"size": {}, "settings": dict.fromkeys(("embedding_l2", "average", "tau", "annealing"))}
    dnn = row | {"auc": 0.984, "dense_parameters": 400, "multiply_adds": 400}
    lite = row | {"auc": 0.985, "dense_parameters": 100, "multiply_adds": 100}
    about = {"date": "", "cpu": "", "versions": {}}
    rows = {"frappe/dnn/0": dnn} | {f"frappe/unimixing-lite/{seed}": lite for seed in range(3)}
    bar = "| test AUC, mean of three seeds, at least 0.9850 |"
    text = page({"about": about, "rows": rows}, CASES)
    assert f"{bar} 0.9850, reached | - |" in text
    assert "| 4.0 times fewer, AUC +0.0010, reached | - |" in text
    rows["frappe/unimixing-lite/2"] = lite | {"auc": 0.98499}
    assert f"{bar} 0.9850, **not reached** | - |" in page({"about": about, "rows": rows}, CASES)
    del rows["frappe/unimixing-lite/2"]
    assert f"{bar} 0.9850, **not reached** | - |" in page({"about": about, "rows": rows}, CASES)
    rows |= {f"frappe/unimixing-lite-taught/{seed}": lite | {"auc": 0.9839} for seed in range(3)}
    assert "| 4.0 times fewer, AUC -0.0001, **not reached** |" in page({"about": about, "rows": rows}, CASES)


def test_of_a_choice_the_best_validation_counts_once_all_were_measured() -> None:
    names = [name for name, case in CASES.items() if case.choice == "movielens/dnn"]
    rows = {f"{name}/0": {"validation_auc": 0.7 + number / 100} for number, name in enumerate(names)}
    assert chosen("movielens/dnn", rows, CASES) == names[-1]
    rows[f"{names[1]}/0"] = {"validation_auc": 0.9}
    assert chosen("movielens/dnn", rows, CASES) == names[1]
    del rows[f"{names[0]}/0"]
    assert chosen("movielens/dnn", rows, CASES) == ""
