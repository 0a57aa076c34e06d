"""The library: what `import rkdeploy` offers, and what the commands are made of.

`rkdeploy/__init__.py` lists the names; they are imported when they are first used, so a board that has no onnx imports
none.
"""
