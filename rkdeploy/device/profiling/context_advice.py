"""Advice on the number of contexts: what more of them bring, and what they cost.  Pure functions of the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkdeploy.device.profiling.profile_document import ProfileAdvice

if TYPE_CHECKING:
    from rkdeploy.device.profiling.profile_document import Profile, Throughput

_SCALING: Final = 0.8
"""Fraction of the ideal rate that several contexts should reach: one context per core gives 2 to 3 times (three
cores).
"""
_WORTH: Final = 1.03
"""Rate against that of one context per core from which more are worth their memory."""
_MIB: Final = 1 << 20


def context_advice(profile: Profile) -> list[ProfileAdvice]:
    """Advice on cores that wait, and on the best number of contexts."""
    return [*_scaling(profile), *_best_number(profile)]


def _scaling(profile: Profile) -> list[ProfileAdvice]:
    by_count = {figures.contexts: figures for figures in profile.throughput}
    single = by_count.get(1)
    if single is None or not single.network_per_second:
        return []
    found = []
    for figures in profile.throughput:
        cores = len(set(figures.cores or ()))
        if cores < 2:
            continue
        gained = figures.network_per_second / single.network_per_second
        if gained < _SCALING * cores:
            found.append(
                ProfileAdvice(
                    "contexts_network",
                    "warning",
                    f"{figures.contexts} contexts on {cores} cores run the network {gained:.1f} times as often as one, "
                    f"expected about {cores}: the cores wait for memory or share a slow clock.",
                    "See the NPU and DDR clocks above; layers that wait for memory are marked in the layer table.",
                )
            )
        elif figures.frames_per_second < _SCALING * figures.network_per_second:
            found.append(_limited_by_cpu(profile, figures))
    return found[-1:]  # the largest number of contexts is the most telling


def _limited_by_cpu(profile: Profile, figures: Throughput) -> ProfileAdvice:
    available = profile.conditions.processors * 1000
    used = figures.cpu_ms_per_frame * figures.frames_per_second
    return ProfileAdvice(
        "contexts_pipeline",
        "warning",
        f"{figures.contexts} contexts could run the network {figures.network_per_second:.0f} times a second, but the "
        f"pipeline brings {figures.frames_per_second:.0f} frames: a frame costs {figures.cpu_ms_per_frame:.1f} ms of "
        f"processor time, {used / available:.0%} of {profile.conditions.processors} processors.",
        "Preprocess is one thread and decode another: the longer one of them is the limit. Use smaller frames.",
    )


def _best_number(profile: Profile) -> list[ProfileAdvice]:
    """The number of contexts with the highest rate, if more than one per core was measured, and its costs."""
    shared = [figures for figures in profile.throughput if _shares_cores(figures)]
    single = [figures for figures in profile.throughput if not _shares_cores(figures) and figures.frames_per_second]
    if not shared or not single:
        return []
    usual = max(single, key=lambda figures: figures.contexts)
    best = max(shared, key=lambda figures: figures.frames_per_second)
    gain = best.frames_per_second / usual.frames_per_second
    rates = f"{best.frames_per_second:.1f} frames per second, {usual.contexts} bring {usual.frames_per_second:.1f}"
    if gain < _WORTH:
        return [
            ProfileAdvice(
                "contexts_best",
                "note",
                f"{best.contexts} contexts bring {rates}: more contexts than cores gain nothing here.",
                "Leave --contexts out of rkdeploy run.",
            )
        ]
    memory = profile.npu_memory
    more = best.contexts - usual.contexts
    costs = "" if memory is None else f", and {more * memory.internal / _MIB:.1f} MiB more memory of the NPU"
    return [
        ProfileAdvice(
            "contexts_best",
            "note",
            f"{best.contexts} contexts are best: {rates} ({gain - 1:+.0%}). They cost latency, infer p50 "
            f"{best.infer.p50_ms:.1f} instead of {usual.infer.p50_ms:.1f} ms{costs}.",
            f"rkdeploy run --contexts {best.contexts}",
        )
    ]


def _shares_cores(figures: Throughput) -> bool:
    return figures.cores is not None and len(set(figures.cores)) < figures.contexts
