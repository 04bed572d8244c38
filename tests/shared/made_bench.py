"""A bench folder whose scores the test chooses."""

import csv
import json
from pathlib import Path
from typing import Any

RESULTS = """env,method,teacher,agent,budget,seed,status,env_steps,updates,labels,label_kind,return,success,\
success_at_end,score,normalised,reward_accuracy,reward_updates,wall_s,config,code,versions,source"""
CURVES = "env,method,teacher,budget,seed,env_steps,updates,labels,return,success,score,normalised,wall_s,source"
LOW, HIGH = 100.0, 300.0  # so that a normalised score of 0.5 is a return of 200
FREE = ("true_reward", "bc")


class MadeBench:
    """Rows are added by normalised score; `write` makes the folder."""

    def __init__(self, *tasks: str, high: float | None = HIGH) -> None:
        env = {"score": "return", "low": LOW, "high": high, "high_method": "true_reward"}
        self.rows: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []
        self.failed: list[str] = []
        self.json: dict[str, Any] = {"envs": {task: dict(env) for task in tasks}, "published": []}

    def add(
        self, method: str, scores: dict[str, list[float]], budget: int = 100, teacher: str = "oracle"
    ) -> "MadeBench":
        """Finished runs: by task, the final score of each seed; half of it at half of the steps and labels."""
        budget, teacher = (0, "none") if method in FREE else (budget, teacher)
        for task, found in scores.items():
            for seed, score in enumerate(found):
                key = {"env": task, "method": method, "teacher": teacher, "budget": budget, "seed": seed}
                done = {"status": "finished", "agent": "sac", "config": "c0ffee00", "code": "1a2b3c4d", "wall_s": 120}
                value = LOW + score * (HIGH - LOW)
                numbers = {"env_steps": 1000, "labels": budget, "return": value, "score": value, "normalised": score}
                cost = {"reward_updates": 7, "reward_accuracy": 0.75} if budget else {}
                self.rows.append({**key, **done, **numbers, **cost})
                for share in (0, 0.5, 1):
                    value = LOW + share * score * (HIGH - LOW)
                    where = {"env_steps": int(1000 * share), "labels": int(budget * share)}
                    self.curves.append({**key, **where, "return": value, "score": value})
        return self

    def write(self, folder: Path, curves: bool = True) -> Path:
        folder.mkdir(parents=True)
        methods = dict.fromkeys(row["method"] for row in self.rows)
        finished = sum(row["status"] == "finished" for row in self.rows)
        about = {"name": "made", "about": "Made up <for> a test.", "commands": ["pbrl bench grid=made out=OUT"]}
        about |= {"code": "1a2b3c4d", "versions": {"python": "3.11"}, "seeds": [0, 1, 2, 3, 4], "failed": self.failed}
        about |= {"cells": len(self.rows), "finished": finished}
        about |= {"methods": {name: {"labels": name not in FREE, "about": None} for name in methods}}
        (folder / "bench.json").write_text(json.dumps(about | self.json))
        write_csv(folder / "results.csv", RESULTS.split(","), self.rows)
        if curves:
            write_csv(folder / "curves.csv", CURVES.split(","), self.curves)
        return folder


def write_csv(file: Path, columns: list[str], rows: list[dict[str, Any]]) -> Path:
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
    return file
