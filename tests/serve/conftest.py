"""What the tests of several servers share is told what it found, as a test is."""

import pytest

pytest.register_assert_rewrite("tests.serve.conformance")
