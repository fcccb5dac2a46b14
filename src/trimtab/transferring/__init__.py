"""Moving a steering to another model, and comparing the ways."""

from trimtab.transferring.compare import Compared, compare
from trimtab.transferring.move import Transferred, transfer

__all__ = ["Compared", "Transferred", "compare", "transfer"]
