import pytest

# What these assert for the tests is to be told in full when it fails.
pytest.register_assert_rewrite("tests.integrations.running_examples", "tests.integrations.gated")
