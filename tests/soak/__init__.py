"""Real processes under fire, for minutes: ``python -m tests.soak --minutes 2``."""
