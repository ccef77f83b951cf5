"""The command line. Each command is a function of the same name, its options parsed and its outcome made an exit code.

* `main`: all commands.
"""
