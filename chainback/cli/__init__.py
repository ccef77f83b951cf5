"""The command line. Each command is a function of the same name, its options parsed and its outcome made an exit code.

Commands lie together as what they run does. A module that needs JAX is imported when its command runs, not for `--help`.

* `main`: the group of all commands, and what its outcomes exit with.
* `options`: how values are read, options that several commands share, and options made of a request's arguments.
* `output`: progress, pages, the names of what was written, annotations of a CI.
* `verify`: the gate itself, whose options are the arguments of a request.
* `reports`: `merge`, `show`, `compare`.
* `versions`: `upgrade`, `bisect`, `history`, `baseline`.
* `cases`: `replay`, `explain`.
* `studies`: `audit`, `lecture`, `bench`.
"""
