"""`python -m rkdeploy`."""

from rkdeploy.cli.entry import main

main()
