"""The numbered promises of the README's section "Security", each with its tests.

``test_promises.py`` checks that every number of the README is here, and that the tests
exist.
``python -m tests.mutation.masks`` checks that they need every mask of the package.
"""

from __future__ import annotations

PATHS = "secrecy/test_paths.py::test_no_secret_gets_out"

PROMISES: dict[int, tuple[str, ...]] = {
    1: (
        "unit/test_login.py::test_a_proof_shows_the_same_credentials_and_nothing_else",
        "secrecy/test_paths.py::test_the_search_finds_what_is_stored",
    ),
    2: (PATHS, "secrecy/test_paths.py::test_two_api_keys_of_one_user_have_two_tokens"),
    3: (
        "unit/test_failure.py::test_a_record_that_applies_too_long_is_void",
        "unit/test_sealing.py::test_what_was_not_sealed_for_this_name_with_a_key_is_unreadable",
        PATHS,
    ),
    4: (PATHS,),
    5: (
        PATHS,
        "secrecy/test_frames.py::test_no_mistake_puts_a_secret_into_a_traceback",
        "secrecy/test_frames.py::test_what_holds_a_secret_cannot_be_opened",
        "secrecy/test_inspection.py::test_a_tracer_of_redis_commands_sees_no_token",
    ),
    6: (
        "secrecy/test_inspection.py::"
        "test_help_and_signatures_hold_nothing_of_the_environment",
    ),
    7: (
        "secrecy/test_frames.py::"
        "test_what_holds_a_secret_is_neither_copied_nor_pickled",
        "secrecy/test_inspection.py::"
        "test_a_pickle_holds_nothing_of_the_senders_environment",
    ),
    8: (
        PATHS,
        "secrecy/test_paths.py::test_the_search_finds_raw_text_of_a_server",
    ),
}
