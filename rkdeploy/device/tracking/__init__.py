"""Ids of objects over the frames of a stream, and counts by them: detections in, tracks out, times in seconds."""
