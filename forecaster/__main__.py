"""Lets ``python -m forecaster`` stand for ``forecast``."""

from forecaster.cli import main

if __name__ == "__main__":
    main()
