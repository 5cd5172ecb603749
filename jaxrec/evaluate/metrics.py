"""Ranking metrics, one value per user, vectorised over users.

Everywhere: `hits` is bool [users, depth], whether the recommendation at each rank (best first) is one of the user's
held-out positives; `positives` is int [users], how many the user has, at least 1; k <= depth.
Relevance is binary. The values equal those of `ranx` (Bassani, ECIR 2022).
"""

import numpy as np

DIVERSITY_CELLS = 2**22  # numbers of vectors held at once: 16 MB


def recall(hits: np.ndarray, positives: np.ndarray, k: int) -> np.ndarray:
    """|top k that are positives| / |positives|, float64 [users]. Not divided by min(k, positives)."""
    return hits[:, :k].sum(1) / positives


def precision(hits: np.ndarray, positives: np.ndarray, k: int) -> np.ndarray:
    """|top k that are positives| / k, float64 [users]; k also where fewer than k could be recommended."""
    return hits[:, :k].sum(1) / k


def hit_rate(hits: np.ndarray, positives: np.ndarray, k: int) -> np.ndarray:
    """1 where any of the top k is a positive, else 0; float64 [users]."""
    return hits[:, :k].any(1).astype(np.float64)


def mrr(hits: np.ndarray, positives: np.ndarray, k: int) -> np.ndarray:
    """1 / rank of the first positive within the top k, 0 where there is none; float64 [users]."""
    top = hits[:, :k]
    return np.where(top.any(1), 1.0 / (top.argmax(1) + 1), 0.0)


def average_precision(hits: np.ndarray, positives: np.ndarray, k: int) -> np.ndarray:
    """Sum over the ranks r <= k that hold a positive of precision@r, / |positives|; float64 [users].

    Its mean over users is MAP (Manning, Raghavan, Schuetze, 2008, section 8.4), cut at k.
    """
    top = hits[:, :k]
    precisions = top.cumsum(1) / np.arange(1, top.shape[1] + 1)
    return (precisions * top).sum(1) / positives


def ndcg(hits: np.ndarray, positives: np.ndarray, k: int) -> np.ndarray:
    """DCG / ideal DCG, float64 [users] (Jarvelin and Kekalainen, TOIS 2002, with binary gains).

    DCG = sum over ranks r <= k of hit_r / log2(r + 1); the ideal has min(k, positives) hits at the top.
    """
    top = hits[:, :k]
    ideal = np.concatenate([[0.0], np.cumsum(_discounts(k))])[np.minimum(positives, k)]
    return top @ _discounts(top.shape[1]) / ideal


def _discounts(depth: int) -> np.ndarray:
    return 1.0 / np.log2(np.arange(depth) + 2.0)


def accuracy(hits: np.ndarray, positives: np.ndarray, ks: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Every metric above at each k, by its written name ("ndcg@10"): float64 [users] each."""
    values = {}
    for k in ks:
        values[f"ndcg@{k}"] = ndcg(hits, positives, k)
        values[f"recall@{k}"] = recall(hits, positives, k)
        values[f"precision@{k}"] = precision(hits, positives, k)
        values[f"hit_rate@{k}"] = hit_rate(hits, positives, k)
        values[f"mrr@{k}"] = mrr(hits, positives, k)
        values[f"map@{k}"] = average_precision(hits, positives, k)
    return values


def coverage(rows: np.ndarray, num_items: int, k: int) -> float:
    """Distinct items in anyone's top k / items in the catalog. rows: int [users, depth], item rows, -1 for none.

    The catalog counts whole, also where only a part of it were candidates.
    """
    return np.unique(rows[:, :k][rows[:, :k] >= 0]).size / num_items


def novelty(rows: np.ndarray, share: np.ndarray, num_users: int, k: int) -> np.ndarray:
    """Mean over the top k of -log2(share of users who have the item), in bits; float64 [users].

    Self-information (Zhou et al., PNAS 2010). share: float [items], of num_users users. An item nobody has counts as
    if one user had it, log2(num_users) bits, the most that is finite. A user with an empty list gets 0.
    """
    bits = -np.log2(np.maximum(share, 1.0 / num_users))
    return _mean_of_top(rows, bits, k)


def popularity(rows: np.ndarray, share: np.ndarray, k: int) -> np.ndarray:
    """Mean over the top k of the share of users who have the item, float64 [users]; 0 for an empty list.

    Average recommendation popularity (Abdollahpouri et al., FLAIRS 2019), as a share.
    """
    return _mean_of_top(rows, share, k)


def popularity_lift(rows: np.ndarray, share: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    """Mean share of users who have what is recommended / the same of what the user has had, - 1; float64 [users].

    Popularity lift (Abdollahpouri et al., "The connection between popularity bias, calibration, and fairness in
    recommendation", RecSys 2020), user by user: 0 is as popular as the user's own taste, 1 twice as popular. own:
    float [users], the mean share of the items in each user's history. nan for an empty list and where `own` is 0.
    """
    defined = (own > 0) & (rows[:, :k] >= 0).any(1)
    return np.where(defined, popularity(rows, share, k) / np.where(own > 0, own, 1.0) - 1, np.nan)


def diversity(rows: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    """Mean of 1 - cosine over all pairs of the top k, float64 [users]: intra-list diversity (Ziegler et al., WWW 2005,
    whose intra-list similarity is its complement).

    vectors: float [items, dim], of any length, of what the items are. Items whose vector is zero say nothing and are
    left out; nan where fewer than two are left. With unit vectors v of n items the sum of the cosines of distinct
    pairs is |sum v|^2 - n, so that no pair is looked at.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    unit = np.concatenate([unit, np.zeros_like(unit[:1])])  # the last row is that of -1, no item
    there = np.append(lengths[:, 0] > 0, False)
    found = np.full(len(rows), np.nan)
    size = max(1, DIVERSITY_CELLS // max(k * unit.shape[1], 1))
    for start in range(0, len(rows), size):
        top = rows[start : start + size, :k]
        count = there[top].sum(1)
        total = np.square(unit[top].sum(1, dtype=np.float64)).sum(1)
        pairs = np.maximum(count * (count - 1), 1)
        found[start : start + size] = np.where(count > 1, 1 - (total - count) / pairs, np.nan)
    return found


def miscalibration(
    rows: np.ndarray, own: np.ndarray, shares: np.ndarray, k: int, smoothing: float = 0.01
) -> np.ndarray:
    """How far the tags of the top k are from the tags of what the user has, float64 [users]: KL(p || (1 - a) q + a p)
    (Steck, "Calibrated Recommendations", RecSys 2018, eq. 4 to 6), in nats; 0 is a list that mirrors the user.

    shares: float [items, tags], each item's tags, adding up to 1, zeros where it has none; own: float [users, tags],
    p, the same of each user; nan where the user or the list has no tags.
    """
    shares = np.concatenate([shares, np.zeros_like(shares[:1])])  # the last row is that of -1, no item
    listed = shares[rows[:, :k]].sum(axis=1, dtype=np.float64)
    total = listed.sum(axis=1, keepdims=True)
    mixed = (1 - smoothing) * listed / np.where(total > 0, total, 1.0) + smoothing * own
    terms = np.where(own > 0, own * np.log(np.where(own > 0, own, 1.0) / np.where(mixed > 0, mixed, 1.0)), 0.0)
    return np.where((total[:, 0] > 0) & (own.sum(axis=1) > 0), terms.sum(axis=1), np.nan)


def _mean_of_top(rows: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    top = rows[:, :k]
    there = top >= 0
    return np.where(there, values[top], 0.0).sum(1) / np.maximum(there.sum(1), 1)


def mean(values: np.ndarray) -> float:
    """Mean over users; users for whom the metric is not defined (nan) are left out."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def standard_error(values: np.ndarray) -> float:
    """Standard deviation over users (n - 1) / sqrt(n); nan for fewer than two users."""
    defined = values[~np.isnan(values)]
    return float(defined.std(ddof=1) / np.sqrt(defined.size)) if defined.size > 1 else float("nan")
