"""`python -m chainback` is the command `chainback`."""

from chainback.cli.main import main

if __name__ == "__main__":
    main()
