"""Frames through a model: `sources`, the `pipeline` with one context per NPU core, `sinks`; `bundle_run` opens them."""
