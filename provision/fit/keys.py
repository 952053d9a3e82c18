"""Reading numbers out of somebody's ``config.json``."""

from __future__ import annotations

from typing import Any

from provision.errors import UsageError

_MOST = 1 << 40  # no size in a configuration comes near it; a hostile one may


class Keys:
    """The keys of one configuration, each under any of the names that families give it."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def get(self, name: str, default: Any = None) -> Any:
        """The value as it stands; ``null`` counts as not said."""
        found = self.values.get(name)
        return default if found is None else found

    def text(self, name: str) -> str:
        """A word, "" where it is not said."""
        return str(self.get(name, ""))

    def whole(self, *names: str, default: int | None = None) -> int:
        """The first of ``names`` that is there. Raises ``UsageError`` for none, or for what is no whole number."""
        for name in names:
            found = self.get(name)
            if found is None:
                continue
            if isinstance(found, list) and found and all(one == found[0] for one in found):
                found = found[0]
            if isinstance(found, float) and found.is_integer():
                found = int(found)
            if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= _MOST:
                raise UsageError(f"config.json: {name} is {str(found)[:60]!r}; expected a whole number of 0 or more")
            return found
        if default is None:
            raise UsageError(f"config.json: no {names[0]}; expected a model's configuration with its sizes")
        return default
