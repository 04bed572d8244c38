"""True returns of pairs, by which they differ, which teachers and evaluation know and people never see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from pbrl.labels.store import LabelStore


def true_advantages(store: LabelStore, queries: Collection[int]) -> dict[int, float]:
    """Return, by query, the right segment's true return minus the left one's; NaN where it is not known."""
    by_file = defaultdict(set)
    for query in store.queries(list(queries)):
        by_file[query.file].add(query.id)
    found: dict[int, float] = {}
    for ids in map(sorted, by_file.values()):  # file by file: memory does not grow with the run, lengths may differ
        left, right = store.segments(ids)
        difference = (right.true_reward.double() * right.mask).sum(1) - (left.true_reward.double() * left.mask).sum(1)
        found |= zip(ids, difference.tolist(), strict=True)
    return found
