"""The counts and the order of frames, without threads; and who waits for whom, with them."""

from __future__ import annotations

import threading

import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.flow import FlowCounts, FrameFlow, Job
from tests.device.stream.stand_ins import WAIT_S, frame

FOUND = Detections.empty()


def taken(flow: FrameFlow) -> Job:
    job = flow.take()
    assert job is not None
    return job


def delivered(flow: FrameFlow) -> int:
    result = flow.deliver()
    assert result is not None
    return result.job.frame.index


def test_results_leave_by_ticket() -> None:
    """A frame that is finished early waits for those before it; a failed one does not delay others."""
    flow = FrameFlow(live=False, tickets=4, waiting=4, ready=1)
    for i in range(4):
        assert flow.put(frame(i), 0.0)
    jobs = [taken(flow) for _ in range(4)]
    flow.finish(jobs[3], FOUND)
    flow.finish(jobs[1], None)
    flow.finish(jobs[2], FOUND)
    flow.finish(jobs[0], FOUND)
    flow.close()
    assert [delivered(flow) for _ in range(3)] == [0, 2, 3]
    assert flow.deliver() is None
    assert flow.take() is None
    assert flow.counts() == FlowCounts(4, 3, 1, 0, 0)


def test_the_newest_frame_replaces_the_one_that_waits() -> None:
    """A live source never waits: of the frames that were not taken, the last one is left, the others are counted."""
    flow = FrameFlow(live=True, tickets=2, waiting=1, ready=2)
    for i in range(10):
        assert flow.put(frame(i), 0.0)
    assert taken(flow).frame.index == 9
    assert flow.counts() == FlowCounts(10, 0, 0, 9, 0)


def test_slow_sinks_of_a_live_source_lose_the_oldest() -> None:
    """Results that the sinks did not come to are replaced by later ones, in order, and counted there."""
    flow = FrameFlow(live=True, tickets=2, waiting=1, ready=2)
    for i in range(10):
        flow.put(frame(i), 0.0)
        flow.finish(taken(flow), FOUND)
    flow.close()
    assert [delivered(flow), delivered(flow)] == [8, 9]
    assert flow.deliver() is None
    assert flow.counts() == FlowCounts(10, 2, 0, 0, 8)


def test_what_is_discarded_is_counted() -> None:
    """After a limit, frames inside are dropped where they are: waiting, under way, ready."""
    flow = FrameFlow(live=True, tickets=4, waiting=1, ready=2)
    flow.put(frame(0), 0.0)
    ready = taken(flow)
    flow.put(frame(1), 0.0)
    under_way = taken(flow)
    flow.finish(ready, FOUND)
    flow.put(frame(2), 0.0)
    flow.discard_rest()
    flow.finish(under_way, FOUND)
    assert flow.deliver() is None
    assert not flow.put(frame(3), 0.0)
    assert flow.counts() == FlowCounts(3, 0, 0, 1, 2)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_the_end_wakes_everybody(end: str) -> None:
    """Threads that wait to put, take, deliver or pause leave when the flow is closed or aborted."""
    full = FrameFlow(live=False, tickets=1, waiting=1, ready=1)
    full.put(frame(0), 0.0)
    empty = FrameFlow(live=False, tickets=1, waiting=1, ready=1)
    waits = [lambda: full.put(frame(1), 0.0), empty.take, empty.deliver, lambda: empty.pause(WAIT_S)]
    threads = [threading.Thread(target=wait) for wait in waits]
    for thread in threads:
        thread.start()
    for flow in (full, empty):
        getattr(flow, end)()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_a_pause_lasts_while_frames_need_a_network() -> None:
    """A thread that waits to open a context again continues while a frame has no result, and stops when all have."""
    flow = FrameFlow(live=False, tickets=2, waiting=2, ready=1)
    flow.put(frame(0), 0.0)
    assert not flow.pause(0.0)
    flow.close()
    assert not flow.pause(0.0)
    job = taken(flow)
    assert not flow.pause(0.0)
    flow.finish(job, None)
    assert flow.pause(0.0)


def test_nobody_pauses_in_a_hurry() -> None:
    """When the user has ended the run, a failed context is not waited for."""
    flow = FrameFlow(live=False, tickets=2, waiting=2, ready=1)
    flow.put(frame(0), 0.0)
    flow.close(hurry=True)
    assert flow.pause(WAIT_S)
