"""Accuracy of embeddings on labeled identities: retrieval (top-1, mean average precision) and verification of pairs.

Verification follows LFW (G. Huang et al., *Labeled Faces in the Wild*, 2007): the threshold of each of ten folds is the
best one of the other nine, and the figure is the mean of the folds' accuracies.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.accuracy import EmbeddingFigures
from rkdeploy.datasets.truth import ImagePair

FOLDS: Final = 10
_MOST_PAIRS: Final = 6000
"""Pairs of each kind that are made where none are given: LFW has 3,000."""
_MOST_IMAGES: Final = 100
"""Images of an identity that pairs are made of."""
_BLOCK: Final = 512


def identity_figures(
    names: Sequence[str], ids: NDArray[np.int64], vectors: NDArray[np.float32], pairs: Sequence[ImagePair]
) -> EmbeddingFigures | None:
    """The figures of one model; None where no identity has two images.

    Args:
        names: of the images.
        ids: (N,) identity of each.
        vectors: (N, D) embeddings of length 1.
        pairs: given ones; where there are none, all of one identity and as many of two are made, up to 6,000 each.
    """
    top1, mean_ap, queries = retrieval(ids, vectors)
    if not queries:
        return None
    places = {name: i for i, name in enumerate(names)}
    given = [p for p in pairs if p.first in places and p.second in places]
    if given:
        ends = np.array([(places[p.first], places[p.second]) for p in given])
        same = np.array([p.is_same for p in given])
        folds = np.array([-1 if p.fold is None else p.fold for p in given])
    else:
        ends, same = made_pairs(ids)
        folds = np.full(len(same), -1)
    cosines = (vectors[ends[:, 0]] * vectors[ends[:, 1]]).sum(axis=1).astype(np.float64)
    accuracy, threshold = verification(cosines, same, folds)
    return EmbeddingFigures(
        top1=top1,
        mean_ap=mean_ap,
        queries=queries,
        identities=len(np.unique(ids)),
        verification=accuracy,
        threshold=threshold,
        pairs=len(same),
        given_pairs=bool(given),
    )


def retrieval(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> tuple[float, float, int]:
    """Top-1, mean average precision and number of queries: each image looks for those of its identity among all others.

    Images that are alone in their identity are looked through, but are not queries.
    """
    _, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
    queries = np.flatnonzero(counts[inverse] > 1)
    firsts, precisions = 0, 0.0
    for start in range(0, len(queries), _BLOCK):
        part = queries[start : start + _BLOCK]
        alike = vectors[part] @ vectors.T
        alike[np.arange(len(part)), part] = -np.inf  # itself comes last
        order = np.argsort(-alike, axis=1, kind="stable")[:, :-1]
        hits = ids[order] == ids[part][:, None]
        ranks = np.arange(1, hits.shape[1] + 1)
        precision = np.cumsum(hits, axis=1) / ranks
        precisions += float(((precision * hits).sum(axis=1) / hits.sum(axis=1)).sum())
        firsts += int(hits[:, 0].sum())
    count = len(queries)
    return (firsts / count, precisions / count, count) if count else (0.0, 0.0, 0)


def made_pairs(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pairs of images, (P, 2) indices, and whether each is of one identity: as many of both kinds, seeded."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(ids == one)[:_MOST_IMAGES].tolist() for one in np.unique(ids)]
    same = [pair for one in members for pair in combinations(one, 2)]
    if len(same) > _MOST_PAIRS:
        same = [same[i] for i in rng.choice(len(same), _MOST_PAIRS, replace=False)]
    drawn = rng.integers(0, len(ids), (40 * len(same), 2))
    different = np.unique(drawn[ids[drawn[:, 0]] != ids[drawn[:, 1]]], axis=0)
    different = rng.permutation(different)[: len(same)]
    ends = np.concatenate([np.array(same, np.int64).reshape(-1, 2), different])
    return ends, np.arange(len(ends)) < len(same)


def verification(
    cosines: NDArray[np.float64], same: NDArray[np.bool_], folds: NDArray[np.int64]
) -> tuple[float, float]:
    """Mean accuracy over folds, each with the best threshold of the others, and the best threshold of all pairs.

    Args:
        cosines: (P,) of the pairs.
        same: (P,) whether they are of one identity.
        folds: (P,) the fold of each; where one is below 0, all are dealt out anew, seeded.
    """
    if (folds < 0).any():
        count = min(FOLDS, len(cosines))
        folds = np.random.default_rng(0).permutation(np.arange(len(cosines)) % count)
    shares = []
    for fold in np.unique(folds):
        held = folds == fold
        limit = best_cosine(cosines[~held], same[~held]) if (~held).any() else best_cosine(cosines, same)
        shares.append(float(((cosines[held] >= limit) == same[held]).mean()))
    return float(np.mean(shares)), best_cosine(cosines, same)


def best_cosine(cosines: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The threshold with the most right answers; of several the middle of the widest gap between two cosines."""
    order = np.argsort(cosines, kind="stable")
    found, labels = cosines[order], same[order]
    edges = np.concatenate(([-1.0], found, [1.0]))
    right = np.concatenate(([0], np.cumsum(~labels))) + labels.sum() - np.concatenate(([0], np.cumsum(labels)))
    gaps = np.diff(edges)
    best = np.flatnonzero((right == right[gaps > 0].max(initial=-1)) & (gaps > 0)) if (gaps > 0).any() else [0]
    at = max(best, key=lambda i: gaps[i])
    return float((edges[at] + edges[at + 1]) / 2)
