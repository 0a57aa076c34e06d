"""Questions asked about bundles: report, tune, compare, estimate, explain, inspect."""
