"""Calls whose module is imported by the first of them: a host starts without what wraps the networks."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def deferred(package: str, module: str, name: str) -> Callable[..., Any]:
    """A call to what `module` of `package` has under that name."""

    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(import_module(f".{module}", package), name)(*arguments, **options)

    return call
