"""Who really books: the port, and the suppliers that implement it."""

from suppliers.embedded import EmbeddedSupplier, embedded_suppliers
from suppliers.port import Refused, Supplier, SupplierError, Suppliers, Unavailable

__all__ = [
    "EmbeddedSupplier",
    "Refused",
    "Supplier",
    "SupplierError",
    "Suppliers",
    "Unavailable",
    "embedded_suppliers",
]
