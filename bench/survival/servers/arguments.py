"""What every server in Python is told on its command line."""

from __future__ import annotations

import argparse
import logging
import resource
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arguments:
    connections: int
    """The sensible limit on connections."""
    budget: int
    """Bytes that one connection may hold, for servers with such a limit."""
    service_budget: int
    dump: int
    """Bytes of state of the service that crashes."""
    memory_limit: int
    """How much memory the whole node may use."""


def arguments() -> Arguments:
    parser = argparse.ArgumentParser()
    for name in Arguments.__dataclass_fields__:
        parser.add_argument("--" + name.replace("_", "-"), type=int, required=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logging.basicConfig(stream=sys.stderr)
    return Arguments(**vars(parser.parse_args()))
