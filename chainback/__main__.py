"""`python -m chainback` is the command `chainback`."""

from chainback.cli import main

if __name__ == "__main__":
    main()
