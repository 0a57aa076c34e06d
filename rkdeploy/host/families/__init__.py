"""Model families: one file each, found by asking every one whether a checkpoint is its own."""
