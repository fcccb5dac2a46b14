"""Moving a steering to another model, and comparing the ways."""

from trimtab.transferring.move import Transferred, transfer

__all__ = ["Transferred", "transfer"]
