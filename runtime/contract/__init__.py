"""What all runtimes share, as data: the manifest's JSON schema, test vectors, and the written rules."""
