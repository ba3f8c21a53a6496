"""A bundle: the manifest, the files it lists, the golden sequence."""
