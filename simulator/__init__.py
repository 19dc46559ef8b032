"""A service that plays the suppliers of every kind, for demos, tests and chaos.

`python -m simulator`. It keeps the contract, and breaks it when told to. It knows nothing
of trips, of the record or of Temporal: only the kinds are ours. docs/suppliers.md has its table.
"""
