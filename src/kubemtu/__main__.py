"""`python -m kubemtu` is `kubemtu`."""

from kubemtu.cli.main import main

main()
