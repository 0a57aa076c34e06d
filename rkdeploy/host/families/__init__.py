"""Model families: one file each; every family is asked whether it recognizes a checkpoint."""
