"""What is written: the manifest's parts, packings, and the writer."""
