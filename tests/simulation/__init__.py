"""A deterministic simulation of a fleet: real rules, virtual time, every fault.

The processes of the simulated fleet run the real ``TokenSource``, ``Level``,
``renewal``, ``failure`` and ``tokens``. What is around those is a model: Redis with the
connections to it (``redis_model``), Turvo and the token request (``turvo_model``), and
what ``auth`` does with a token and a 401 (``process.converse``). When ``login``,
``redis_store``, ``breaker``, ``auth`` or ``replay`` learn something new that the rules
depend on, the models need it too.

Each thread of a process is a greenlet. It pauses before every command to the store, at
the start, in the middle and at the end of every token request, and before every request
to the API. There the ``scheduler`` asks which task goes on, which fault strikes, or
whether time passes. Nothing else decides what happens: the library's clock, its random
bytes and its thread locals are virtual as well (``world.virtual_library``). So every
run can be repeated from its name.

What is run::

    python -m tests.simulation --minutes 10 [--seed 1000]   random fleets, by seed
    python -m tests.simulation --exhaustive                 two processes, all of it
    python -m tests.simulation --suite                      what the test suite runs
    python -m tests.simulation --run NAME                   one run, with its trace
    python -m tests.simulation.mutants                      are the checks sharp enough?

The suite has three parts, some 5,700 runs:

* *Two processes, exhaustively* (``explore``). Without a fault: every order of their
  steps. With one fault, at every step: every order in which a process is left only
  where it has to wait; ``--exhaustive`` also leaves it once between a read and its
  write. A step that no other process can tell from none is no decision, and a run ends
  where it comes to a state that an earlier run has been in.
* *Fleets at random*: up to six processes with up to three threads each, some with wrong
  credentials or another token URL, an operator who logs in, and up to six faults.
* *Stories* (``stories``): longer runs, such as a forbidden path that is polled for ten
  minutes, or twelve processes with twelve wrong passwords.

The faults are in ``faults``, and the promises in ``invariants``. When the faults of a
run are over, Turvo revokes every token once more, and one login has to be enough for
all (``explore.heal_fleet``). A run that breaks a promise is printed as a trace: the
virtual time, the process, and what it did or learned.

To add a fault, write it into ``faults.FAULTS``. To add a promise, write a check into
``invariants.Checks``, and a mutant that breaks the promise into ``mutants``.
"""
