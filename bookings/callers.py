"""Who asks, and whose trips a caller may see."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """Who a request comes from. An operator sees every trip; others see their own."""

    name: str
    operator: bool

    def may_see(self, owner: str) -> bool:
        """Tell whether the trips of `owner` are this caller's business."""
        return self.operator or owner == self.name
