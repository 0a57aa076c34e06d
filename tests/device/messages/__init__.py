"""Tests of tracks and counts."""
