"""Data that the host and the device share: the contract, the bundle and the records in it.  Imports `errors` only."""
