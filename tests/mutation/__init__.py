"""A mutation round: is each line of the core needed by some test?

Run ``python -m tests.mutation``. The package and its tests are copied to a temporary
folder. Then one small change after the other is made to a module of the copy
(``mutants`` lists them), and the module's own test files are run. A change that no test
notices *survives*: it is printed with its place and its diff. It wants a test, or the
code that it changes wants to go. A run that takes much longer than the unchanged one
counts as noticed. The exit code is 1 if fewer than 95 % are noticed.

``--modules renewal,failure`` mutates these only. ``--sample 200 --seed 7`` takes 200
mutants at random. All of them take about an hour on one processor. Works where
``os.fork`` does.

``python -m tests.mutation.masks`` is another round. It takes out what keeps secrets out
of frames, pickles, traces and messages, one mask at a time, and every one of them must
be missed by a test of ``tests/secrecy``.

mutmut 3.8 was tried first. It leaves module constants, class bodies and decorated
functions alone, where much of this core is, and its trampolines add frames to every
call, which the tests of interrupts count.
"""
