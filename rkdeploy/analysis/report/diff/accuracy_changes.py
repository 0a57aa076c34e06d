"""Accuracy and agreement of two models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.report.diff.diff_document import Change, LimitKey, NoiseFrom
from rkdeploy.analysis.report.diff.judge import judged, one_sided
from rkdeploy.analysis.report.diff.noise import mean_share_noise, share_noise
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.analysis.report.verdicts import built_side
from rkdeploy.contract.accuracy import AccuracyReport, Evaluation, ObjectFigures

_BUILT, _FLOAT = "built", "float"


def accuracy_changes(a: ModelReport, b: ModelReport) -> Iterator[Change]:
    """Float model against float model and quantized against quantized, on the same images only."""
    pair = _like(a.accuracy, b.accuracy)
    if pair is None:
        yield from _only_one(a, b)
        return
    first, second = pair
    same_images = first.source == second.source
    for role in (_BUILT, _FLOAT):
        one, other = _side(first, role), _side(second, role)
        if one is None or other is None:
            continue
        comparable = same_images and one.images == other.images and (
            origin_of(one).kind == origin_of(other).kind or role == _FLOAT
        )  # fmt: skip
        yield from _sides(one, other, role, comparable=comparable)


def _like(a: Sequence[AccuracyReport], b: Sequence[AccuracyReport]) -> tuple[AccuracyReport, AccuracyReport] | None:
    """The two evaluations that are most alike: same images and same kind of origin, else same images, else the last."""
    if not a or not b:
        return None

    def likeness(pair: tuple[AccuracyReport, AccuracyReport]) -> tuple[bool, bool]:
        built = [built_side(one) for one in pair]
        return pair[0].source == pair[1].source, len({origin_of(s).kind for s in built if s is not None}) == 1

    return max(((one, other) for one in reversed(a) for other in reversed(b)), key=likeness)


def _side(found: AccuracyReport, role: str) -> Evaluation | None:
    if role == _FLOAT:
        return next((side for side in found.evaluations if side.computes == _FLOAT), None)
    built = built_side(found)
    return built if built is not None and built.computes != _FLOAT else None


def _only_one(a: ModelReport, b: ModelReport) -> Iterator[Change]:
    """Accuracy that one side has alone."""
    sides = [_side(one.accuracy[-1], _BUILT) if one.accuracy else None for one in (a, b)]
    for figures in next((side.objects for side in sides if side is not None), ()):
        values = [
            next((o.map50_95 for o in side.objects if o.kind == figures.kind), None) if side else None for side in sides
        ]
        origins = [origin_of(side) if side else None for side in sides]
        yield one_sided(
            "accuracy", "accuracy.map50_95", "share", values[0], values[1], origins[0], origins[1],
            higher_is_better=True, limit_key="map", values={"kind": figures.kind, "role": _BUILT},
        )  # fmt: skip


def _sides(a: Evaluation, b: Evaluation, role: str, *, comparable: bool) -> Iterator[Change]:
    limit: LimitKey | None = "map" if role == _BUILT else None

    def change(
        key: str, before: float | None, after: float | None, noise: float, source: NoiseFrom,
        limit_key: LimitKey | None, values: dict[str, str],
    ) -> Change | None:  # fmt: skip
        values = {**values, "role": role}
        if before is None and after is None:
            return None
        if before is None or after is None or not comparable:
            return one_sided(
                "accuracy", key, "share", before, after, origin_of(a), origin_of(b), higher_is_better=True,
                limit_key=limit_key, values=values,
            )  # fmt: skip
        return judged(
            "accuracy", key, "share", before, after, origin_of(a), origin_of(b), higher_is_better=True, noise=noise,
            noise_from=source, limit_key=limit_key, values=values,
        )  # fmt: skip

    found: list[Change | None] = []
    for one in a.objects:
        other = next((o for o in b.objects if o.kind == one.kind), None)
        if other is None:
            continue
        kind = {"kind": one.kind}
        found.append(change("accuracy.map50", one.map50, other.map50, _map_noise(one, other, "map50"), "objects", None,
                            kind))  # fmt: skip
        noise = _map_noise(one, other, "map50_95")
        found.append(change("accuracy.map50_95", one.map50_95, other.map50_95, noise, "objects", limit, kind))
        if role == _BUILT:
            classes = {c.name: c for c in other.classes}
            for c in one.classes:
                same = classes.get(c.name)
                if same is None or not (c.truths or same.truths):
                    continue
                noise = share_noise(c.map50_95 or 0.0, same.map50_95 or 0.0, c.truths, same.truths)
                found.append(change("accuracy.class", c.map50_95, same.map50_95, noise, "objects", None,
                                    {"kind": one.kind, "name": c.name}))  # fmt: skip
    if a.ranking is not None and b.ranking is not None:
        for name in ("top1", "top5"):
            before, after = getattr(a.ranking, name), getattr(b.ranking, name)
            noise = share_noise(before, after, a.images, b.images)
            found.append(change(f"accuracy.{name}", before, after, noise, "images", limit if name == "top1" else None,
                                {}))  # fmt: skip
    if a.depth is not None and b.depth is not None:
        noise = share_noise(a.depth.delta1, b.depth.delta1, a.depth.images, b.depth.images)
        found.append(change("accuracy.delta1", a.depth.delta1, b.depth.delta1, noise, "images", limit, {}))
    for one_map in a.class_maps:
        same_map = next((m for m in b.class_maps if m.name == one_map.name), None)
        if same_map is not None:
            noise = share_noise(one_map.mean_iou or 0.0, same_map.mean_iou or 0.0, a.images, b.images)
            found.append(change("accuracy.mean_iou", one_map.mean_iou, same_map.mean_iou, noise, "images", limit,
                                {"name": one_map.name}))  # fmt: skip
    yield from (one for one in found if one is not None)


def _map_noise(a: ObjectFigures, b: ObjectFigures, name: str) -> float:
    """Noise of a mean over classes, from the objects of each."""
    sides = [[(getattr(c, name) or 0.0, c.truths) for c in one.classes if c.truths] for one in (a, b)]
    return mean_share_noise(sides[0], sides[1])


def agreement_changes(a: ModelReport, b: ModelReport) -> Iterator[Change]:
    """The headline figure of how far the built model gives what float gives."""
    if a.agreement is None or b.agreement is None:
        return
    one, other = a.agreement, b.agreement
    first, second = one.headline, other.headline
    if first is None or second is None:
        return
    before, after = first.value, second.value
    one_measure = (first.name, first.of) == (second.name, second.of)
    if not one_measure or (one.source, one.images, one.confidence) != (other.source, other.images, other.confidence):
        yield one_sided(
            "agreement", "agreement.share", "share", before, after, origin_of(one), origin_of(other),
            higher_is_better=True, limit_key="agreement",
        )  # fmt: skip
        return
    yield judged(
        "agreement", "agreement.share", "share", before, after, origin_of(one), origin_of(other),
        higher_is_better=True, noise=share_noise(before, after, first.count, second.count),
        noise_from=first.unit, limit_key="agreement",
    )  # fmt: skip
