"""PyTorch put off until it is used: with a small stand-in for it, and with the real toolkit and PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TORCH = {
    "__init__.py": """
        import os
        print("torch is imported")
        __version__ = "7"
        class no_grad:
            def __enter__(self): print("no grad")
            def __exit__(self, *raised): print("grad")
            def __call__(self, function): raise AssertionError("decorates too early")
        from torch import nn
    """,
    "nn/__init__.py": """
        class Module:
            def __init__(self): self.ready = True
            def train(self): return f"trains {self.name}"
        class Linear(Module): pass
    """,
    "optim.py": "class SGD: pass",
}
TOOLKIT = """
    import torch
    import torch.nn as nn

    @torch.no_grad()
    def optimize(value, *, step):
        return value + step

    class Net(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name
"""


def run(folder: Path, program: str) -> list[str]:
    """Run a program where `torch` and `toolkit` are those above; return the lines it prints."""
    for name, text in {**{f"torch/{name}": text for name, text in TORCH.items()}, "toolkit.py": TOOLKIT}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    return printed(program, PYTHONPATH=os.pathsep.join((str(folder), str(Path(__file__).parents[3]))))


def printed(program: str, **variables: str) -> list[str]:
    """Run a program after the first line that all need; return the lines it prints."""
    begin = "import sys\nfrom rkdeploy.host.toolkit.late_torch import LateTorch\nlate = LateTorch()\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + textwrap.dedent(program)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("", []),
        ("print(toolkit.optimize(1, step=2))", ["torch is imported", "no grad", "grad", "3"]),
        ("print(toolkit.Net('a').train(), toolkit.Net('b').ready)", ["torch is imported", "trains a True"]),
        ("print(toolkit.torch.__version__)", ["torch is imported", "7"]),
        ("print(toolkit.nn.Linear().ready)", ["torch is imported", "True"]),
        ("import torch; print(torch.nn.Linear().ready)", ["torch is imported", "True"]),
        (
            "import torch.optim; print(torch.optim.SGD.__name__, toolkit.Net('c').ready)",
            ["torch is imported", "SGD True"],
        ),
        ("print(toolkit.optimize.__name__, hasattr(toolkit.torch, '__file__'))", ["optimize False"]),
    ],
    ids=["unused", "decorated", "derived", "version", "attribute", "imported again", "part imported", "looked at"],
)
def test_the_first_use_imports_it(use: str, said: list[str], tmp_path: Path) -> None:
    """The import of the toolkit needs no PyTorch; the first use of anything gets the real one."""
    assert run(tmp_path, f"with late.stand_ins():\n    import toolkit\n{use}") == said


@pytest.mark.parametrize("needed", ["from torch.optim import SGD", "torch.nn.Linear", "torch.nn.Module()"])
def test_another_toolkit_that_needs_more_gets_the_real_one_at_once(needed: str, tmp_path: Path) -> None:
    """Attributes that the stand-ins do not offer are PyTorch's own, within the context too."""
    program = f"""
        with late.stand_ins():
            import toolkit
            import torch.nn
            {needed}
            print(late.loaded, issubclass(toolkit.Net, sys.modules["torch"].nn.Module))
    """
    assert run(tmp_path, program) == ["torch is imported", "True True"]


def test_without_pytorch_its_absence_is_said_at_once(tmp_path: Path) -> None:
    """No stand-in hides that PyTorch is missing: the worker tells the user to install it."""
    program = """
        sys.path[:] = [entry for entry in sys.path if "-packages" not in entry]
        try:
            with late.stand_ins():
                import torch
        except ModuleNotFoundError as error:
            print(error)
    """
    assert printed(program) == ["No module named 'torch'"]


@pytest.mark.slow
def test_the_real_toolkit_is_imported_without_pytorch_and_its_classes_get_it() -> None:
    """The toolkit's import leaves PyTorch out; what it derived from the stand-in is PyTorch's after the first use."""
    program = """
        with late.stand_ins():
            from rknn.api import RKNN, gdq_quant
        assert not [name for name in sys.modules if name.partition(".")[0] == "torch"]
        derived = [one for one in vars(gdq_quant).values() if isinstance(one, type) and hasattr(one, "_late")]
        late.real("torch")
        import torch
        print(len(derived), all(issubclass(one, torch.nn.Module) for one in derived))
    """
    assert printed(program) == ["1 True"]
