"""The caller of a request, and which trips a caller may see."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """The caller of a request. An operator sees every trip; others see their own."""

    name: str
    operator: bool

    def may_see(self, owner: str) -> bool:
        """Tell whether this caller may see the trips of `owner`."""
        return self.operator or owner == self.name
