"""For all tests: the hypothesis profile ``prove`` is known before it is asked for."""

import tests.effort  # noqa: F401
