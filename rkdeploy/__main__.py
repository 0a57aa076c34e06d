"""`python -m rkdeploy`."""

from rkdeploy.cli import main

main()
