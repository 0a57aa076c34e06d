"""Reading, fitting and resampling images; run lengths of masks."""
