"""Lets ``python -m forecaster`` stand for ``forecast``."""

from forecaster.cli.app import main

if __name__ == "__main__":
    main()
