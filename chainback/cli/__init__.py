"""The command line. Each command is a function of the same name, its options parsed and its outcome made an exit code.

* `main`: the commands, and what they share.
* `verify`: `chainback verify`, whose options are the arguments of a request.
* `options`: how values are read, and options made of a request's arguments.
* `output`: progress, pages, files, annotations of a CI.
"""
