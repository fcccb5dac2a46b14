"""The laws of tests/laws, on SmolLM2: 30 blocks of width 576, with a vocabulary and a text of its own."""

from __future__ import annotations

from tests.laws.test_1_nothing import *  # noqa: F403
from tests.laws.test_2_cache import *  # noqa: F403
from tests.laws.test_3_rows import *  # noqa: F403
from tests.laws.test_4_undone import *  # noqa: F403
from tests.laws.test_5_place import *  # noqa: F403
from tests.laws.test_6_algebra import *  # noqa: F403
from tests.laws.test_7_files import *  # noqa: F403
from tests.laws.test_8_sequences import *  # noqa: F403
