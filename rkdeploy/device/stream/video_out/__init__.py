"""Encoded video: H.264 packets of what a run draws, and the receivers that write or send them."""
