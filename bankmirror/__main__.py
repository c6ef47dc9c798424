"""`python -m bankmirror` is the `bankmirror` command."""

from bankmirror.cli import main

main()
