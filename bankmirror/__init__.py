"""The `bankmirror` command, and `up`, which runs everything on one machine."""

__version__ = "0.1.0"
