"""Packages that a form of a page needs."""

from __future__ import annotations

from collections.abc import Callable

from rkdeploy.errors import RkdeployError


def with_packages(render: Callable[[], str]) -> str:
    """Call a renderer.

    Raises:
        RkdeployError: a package that it needs is not installed.
    """
    try:
        return render()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"jinja2", "markupsafe"}:
            raise
        raise RkdeployError(
            f'This form of a report needs the package "{error.name}".',
            'Install it with: pip install "rkdeploy[report]"; JSON needs nothing.',
        ) from error
