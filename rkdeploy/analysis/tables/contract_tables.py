"""The contract, the anchors, the examples, and the environment of a build."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import partial

from rkdeploy.analysis.page.columns import ColumnOf, number_column, table_of, text_column
from rkdeploy.analysis.page.content import (
    ABSENT,
    TIMES,
    Block,
    Cell,
    Column,
    LegendEntry,
    Note,
    PageSection,
    Picture,
    PicturePair,
    Pictures,
    Plot,
    Table,
    facts,
    figure,
    moment,
)
from rkdeploy.analysis.page.plots.anchor_plot import anchor_plot
from rkdeploy.analysis.page.plots.svg import Drawings
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.contract.spec import HeadOutput

_WORST = 20


def anchors_section(model: ModelReport, words: Words) -> PageSection | None:
    """The model's anchors next to the published ones."""
    found = model.anchors
    if found is None:
        return None
    data_set = found.data_set
    blocks: list[Block] = []
    if found.are_defaults:
        blocks.append(Note(words("anchors.same", data_set=data_set), "good"))
    elif found.largest_ratio is None:
        blocks.append(Note(words("anchors.no_published"), "attention"))
    else:
        blocks.append(Note(words("anchors.differ", data_set=data_set, ratio=found.largest_ratio), "attention"))
    title = words("anchors.plot", data_set=data_set)
    headings = [words("anchors.stride", stride=level.stride) for level in found.levels]
    blocks.append(
        Plot(
            title,
            Drawings.of(partial(anchor_plot, found.levels, headings)),
            words("anchors.desc", data_set=data_set),
            [
                LegendEntry("own", words("anchors.own")),
                LegendEntry("published", words("anchors.published", data_set=data_set)),
            ],
            note=words("anchors.note"),
        )
    )
    rows = []
    for level in found.levels:
        for i, (width, height) in enumerate(level.own_px):
            other = level.published_px[i] if level.published_px else None
            ratio = None if other is None else max(_factor(width, other[0]), _factor(height, other[1]))
            rows.append(
                [
                    Cell(str(level.stride), level.stride),
                    _size(width, height),
                    _size(*other) if other else Cell(ABSENT),
                    figure(ratio, ".2f", TIMES),
                ]
            )
    columns = (
        Column(words("anchors.level")),
        Column(words("anchors.own"), "right"),
        Column(words("anchors.published", data_set=data_set), "right"),
        Column(words("anchors.ratio"), "right"),
    )
    blocks.append(Table(words("anchors.caption"), columns, rows))
    return PageSection("anchors", words("anchors.title", data_set=data_set), blocks)


def _size(width: float, height: float) -> Cell:
    return Cell(f"{width:.4g} {TIMES} {height:.4g}", width * height)


def _factor(a: float, b: float) -> float:
    return max(a / b, b / a)


def contract_section(model: ModelReport, words: Words) -> PageSection | None:
    """Input and outputs."""
    found = model.contract
    if found is None:
        return None
    image = found.input
    mean, std = (", ".join(f"{v:g}" for v in values) for values in (image.mean, image.std))
    names = ", ".join(found.class_names[:_WORST]) + (" …" if len(found.class_names) > _WORST else "")
    rows = [
        (words("contract.task"), words(f"task.{found.task}")),
        (words("contract.size"), f"{image.width} {TIMES} {image.height} px"),
        (words("contract.tensor"), f"{image.name}, (1, {image.height}, {image.width}, 3) uint8, {image.color.upper()}"),
        (words("contract.fit"), words(f"fit.{image.fit}", pad=image.pad_value, crop=image.crop_fraction)),
        (words("contract.normalize"), f"mean {mean}; std {std}"),
        (words("contract.classes", n=len(found.class_names)), names),
        (words("contract.nms"), words("contract.nms_no") if found.end_to_end else words("contract.nms_yes")),
    ]
    columns: list[ColumnOf[HeadOutput]] = [
        text_column(words("contract.output"), lambda one: one.name),
        text_column(words("proof.role"), lambda one: one.role),
        text_column(words("contract.shape"), lambda one: TIMES.join(map(str, one.shape))),
        number_column(words("contract.stride"), lambda one: one.stride, ".0f"),
        text_column(words("contract.activation"), lambda one: one.activation),
        text_column(words("memory.dtype"), lambda one: one.quantization.dtype if one.quantization else "float"),
        number_column(words("contract.scale"), lambda one: one.quantization.scale if one.quantization else None, ".6g"),
        number_column(
            words("contract.zero_point"), lambda one: one.quantization.zero_point if one.quantization else None, ".0f"
        ),
    ]
    blocks: list[Block] = [
        facts(words("contract.input_caption"), words("common.what"), words("common.value"), rows),
        table_of(words("contract.outputs_caption"), columns, found.outputs),
    ]
    return PageSection("contract", words("contract.title"), blocks)


def examples_section(model: ModelReport, words: Words) -> PageSection | None:
    """Held-out images, float left, the built model right."""
    found = model.examples
    if found is None or not any(one.reference_webp and one.built_webp for one in found.pictures):
        reason = words("examples.none" if model.build else "examples.no_bundle")
        return PageSection("examples", words("examples.title"), [Note(reason)]) if model.contract else None
    dtype = model.dtype.upper()
    pairs = []
    for one in found.pictures:
        if one.reference_webp is None or one.built_webp is None:
            continue
        if one.reference_first or one.built_first:
            text = words("examples.first_class", source=one.source, a=one.reference_first, b=one.built_first)
        else:
            text = words(
                "examples.pair",
                source=one.source,
                reference=one.reference_count,
                built=one.built_count,
                matched=one.matched,
            )
        sides = [
            Picture(
                words("examples.alt", side=side, source=one.source, count=n),
                base64.b64encode(data).decode("ascii"),
                one.width,
                one.height,
            )
            for side, n, data in (
                (words("accuracy.float"), one.reference_count, one.reference_webp),
                (dtype, one.built_count, one.built_webp),
            )
        ]
        pairs.append(PicturePair(text, sides[0], sides[1]))
    pictures = Pictures(
        words("examples.title"), words("accuracy.float"), dtype, found.reference_origin, found.built_origin, pairs
    )
    how = words("examples.how", confidence=found.confidence, iou=found.iou, score=found.score_difference)
    return PageSection("examples", words("examples.title"), [Note(how), pictures])


def environment_section(model: ModelReport, words: Words) -> PageSection | None:
    """Source, toolkit, and packages of the build."""
    blocks = list(_environment(model, words))
    return PageSection("environment", words("environment.title"), blocks) if blocks else None


def _environment(model: ModelReport, words: Words) -> Iterator[Block]:
    for warning in model.build.warnings if model.build else ():
        yield Note(warning, "attention", quoted=True)
    found = model.build
    rows = [(words("environment.sha256"), model.model_sha256 or "")]
    if found is not None:
        source, toolkit = found.source, found.toolkit
        quantization = ", ".join(filter(None, (toolkit.algorithm, toolkit.method)))
        rows += [
            (words("environment.source"), f"{source.file}{f' + {source.weights}' if source.weights else ''}"),
            (words("environment.source_sha256"), source.sha256),
            (words("environment.family"), f"{source.family}, {source.generation}"),
            (words("environment.parameters"), f"{source.parameters:,}" if source.parameters else ""),
            (words("environment.target"), f"{toolkit.target}, {toolkit.dtype}"),
            (words("environment.toolkit"), f"{toolkit.name} {toolkit.version}"),
            (words("environment.quantization"), quantization),
            (words("environment.float16"), ", ".join(toolkit.float16) if toolkit.float16 else ""),
            (words("environment.optimization"), str(toolkit.optimization_level)),
            (words("environment.rules"), ", ".join(toolkit.disabled_rules)),
            (words("environment.rknn_bytes"), f"{(model.rknn_bytes or 0) / (1 << 20):.2f} MiB"),
            (words("environment.created"), moment(found.created)),
            (words("environment.rkdeploy"), found.rkdeploy_version),
        ]
        if found.calibration is not None:
            calibration = found.calibration
            text = words(
                "environment.calibrated_on", n=len(calibration.images), source=calibration.source, seed=calibration.seed
            )
            rows.append((words("environment.calibration"), text))
        rows += [(words("conditions.package", name=name), version) for name, version in found.host.items()]
    yield facts(words("environment.caption"), words("common.what"), words("common.value"), rows)
    if found is not None and found.seconds:
        stages = [(name, f"{seconds:.1f} s") for name, seconds in found.seconds.items()]
        yield facts(words("environment.seconds"), words("environment.stage"), words("environment.took"), stages)
