"""Accuracy and agreement of two models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.report.diff.diff_document import Change, LimitKey
from rkdeploy.analysis.report.diff.judge import Figure, FigureKind, Noise, judged, one_sided
from rkdeploy.analysis.report.diff.noise import mean_share_noise, share_noise
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.analysis.report.verdicts import built_side
from rkdeploy.contract.accuracy import AccuracyReport, Evaluation, ObjectFigures

_BUILT, _FLOAT = "built", "float"
_AGREEMENT: Final = FigureKind("agreement", "agreement.share", "share", higher_is_better=True, limit_key="agreement")


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
        same_origin = origin_of(one).kind == origin_of(other).kind or role == _FLOAT
        comparable = same_images and one.images == other.images and same_origin
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
        before, after = (Figure(None) if side is None else _map_of(side, figures.kind) for side in sides)
        yield one_sided(_accuracy("map50_95", "map"), before, after, {"kind": figures.kind, "role": _BUILT})


def _map_of(side: Evaluation, kind: str) -> Figure:
    return Figure(next((one.map50_95 for one in side.objects if one.kind == kind), None), origin_of(side))


def _accuracy(name: str, limit_key: LimitKey | None = None) -> FigureKind:
    return FigureKind("accuracy", f"accuracy.{name}", "share", higher_is_better=True, limit_key=limit_key)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A figure of two evaluations.

    Attributes:
        name: of the figure, `map50_95`.
        before, after: of A and B; None where that side has none.
        noise: of the difference.
        values: what goes into its text.
        limited: whether `--fail-on map` looks at it.
    """

    name: str
    before: float | None
    after: float | None
    noise: Noise
    values: Mapping[str, str] = field(default_factory=dict)
    limited: bool = False


def _sides(a: Evaluation, b: Evaluation, role: str, *, comparable: bool) -> Iterator[Change]:
    for pair in (*_object_pairs(a, b, by_class=role == _BUILT), *_image_pairs(a, b)):
        kind = _accuracy(pair.name, "map" if pair.limited and role == _BUILT else None)
        values = {**pair.values, "role": role}
        before, after = Figure(pair.before, origin_of(a)), Figure(pair.after, origin_of(b))
        if before.value is None and after.value is None:
            continue
        if before.value is None or after.value is None or not comparable:
            yield one_sided(kind, before, after, values)
        else:
            yield judged(kind, before, after, pair.noise, values)


def _object_pairs(a: Evaluation, b: Evaluation, *, by_class: bool) -> Iterator[_Pair]:
    """Mean average precision of boxes, masks and keypoints, with `by_class` of each class too."""
    for one in a.objects:
        other = next((o for o in b.objects if o.kind == one.kind), None)
        if other is None:
            continue
        kind = {"kind": one.kind}
        yield _Pair("map50", one.map50, other.map50, _map_noise(one, other, "map50"), kind)
        noise = _map_noise(one, other, "map50_95")
        yield _Pair("map50_95", one.map50_95, other.map50_95, noise, kind, limited=True)
        if by_class:
            yield from _class_pairs(one, other)


def _class_pairs(a: ObjectFigures, b: ObjectFigures) -> Iterator[_Pair]:
    classes = {one.name: one for one in b.classes}
    for one in a.classes:
        same = classes.get(one.name)
        if same is None or not (one.truths or same.truths):
            continue
        noise = share_noise(one.map50_95 or 0.0, same.map50_95 or 0.0, one.truths, same.truths)
        values = {"kind": a.kind, "name": one.name}
        yield _Pair("class", one.map50_95, same.map50_95, Noise(noise, "objects"), values)


def _image_pairs(a: Evaluation, b: Evaluation) -> Iterator[_Pair]:
    """Figures of whole images: a classifier's, those of depth and of class maps."""
    if a.ranking is not None and b.ranking is not None:
        for name in ("top1", "top5"):
            before, after = getattr(a.ranking, name), getattr(b.ranking, name)
            noise = Noise(share_noise(before, after, a.images, b.images), "images")
            yield _Pair(name, before, after, noise, limited=name == "top1")
    if a.depth is not None and b.depth is not None:
        noise = Noise(share_noise(a.depth.delta1, b.depth.delta1, a.depth.images, b.depth.images), "images")
        yield _Pair("delta1", a.depth.delta1, b.depth.delta1, noise, limited=True)
    if a.text is not None and b.text is not None:
        for name, before, after in (
            ("right_texts", a.text.same, b.text.same), ("characters", a.text.characters, b.text.characters)
        ):  # fmt: skip
            noise = Noise(share_noise(before, after, a.text.images, b.text.images), "images")
            yield _Pair(name, before, after, noise, limited=True)
    if a.embedding is not None and b.embedding is not None:
        for name, counted in (("mean_ap", "queries"), ("verification", "pairs")):
            before, after = getattr(a.embedding, name), getattr(b.embedding, name)
            counts = getattr(a.embedding, counted), getattr(b.embedding, counted)
            yield _Pair(name, before, after, Noise(share_noise(before, after, *counts), "images"), limited=True)
    for one in a.class_maps:
        same = next((m for m in b.class_maps if m.name == one.name), None)
        if same is not None:
            noise = Noise(share_noise(one.mean_iou or 0.0, same.mean_iou or 0.0, a.images, b.images), "images")
            yield _Pair("mean_iou", one.mean_iou, same.mean_iou, noise, {"name": one.name}, limited=True)


def _map_noise(a: ObjectFigures, b: ObjectFigures, name: str) -> Noise:
    """Noise of a mean over classes, from the objects of each."""
    sides = [[(getattr(c, name) or 0.0, c.truths) for c in one.classes if c.truths] for one in (a, b)]
    return Noise(mean_share_noise(sides[0], sides[1]), "objects")


def agreement_changes(a: ModelReport, b: ModelReport) -> Iterator[Change]:
    """Agreement of the quantized with the float model: its headline figure."""
    if a.agreement is None or b.agreement is None:
        return
    one, other = a.agreement, b.agreement
    first, second = one.headline, other.headline
    if first is None or second is None:
        return
    before, after = Figure(first.value, origin_of(one)), Figure(second.value, origin_of(other))
    one_measure = (first.name, first.of) == (second.name, second.of)
    if not one_measure or (one.source, one.images, one.confidence) != (other.source, other.images, other.confidence):
        yield one_sided(_AGREEMENT, before, after)
        return
    noise = Noise(share_noise(first.value, second.value, first.count, second.count), first.unit)
    yield judged(_AGREEMENT, before, after, noise)
