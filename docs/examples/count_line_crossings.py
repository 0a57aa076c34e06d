"""Count the objects that cross a line in a video, with supervision.

    pip install "rkdeploy[supervision]"
    python count_line_crossings.py BUNDLE VIDEO OUT.mp4

The line lies across the middle of the picture, from left to right.
"""

import sys

import supervision as sv

import rkdeploy


def main(bundle: str, video: str, output: str) -> None:
    """Draw tracks and counts into a new video, and print the counts."""
    info = sv.VideoInfo.from_video_path(video)
    middle = info.height // 2
    line = sv.LineZone(start=sv.Point(0, middle), end=sv.Point(info.width, middle))
    tracker = sv.ByteTrack(frame_rate=round(info.fps))
    boxes, traces, lines = sv.BoxAnnotator(), sv.TraceAnnotator(), sv.LineZoneAnnotator()
    with rkdeploy.load(bundle) as model, sv.VideoSink(output, info) as sink:
        for result in model.stream(video):
            detections = tracker.update_with_detections(result.to_supervision())
            line.trigger(detections)
            drawn = boxes.annotate(result.frame.copy(), detections)
            drawn = traces.annotate(drawn, detections)
            sink.write_frame(lines.annotate(drawn, line))
    print(f"in: {line.in_count}, out: {line.out_count}")


if __name__ == "__main__":
    main(*sys.argv[1:])
