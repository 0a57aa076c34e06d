"""One plug-in of each kind for rkdeploy: a family, a backend, a source and a sink."""
