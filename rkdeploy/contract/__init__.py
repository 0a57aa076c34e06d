"""What the host and the device agree on: the contract, the bundle, the records in it.  Imports `errors` only."""
