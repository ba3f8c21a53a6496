"""What a bundle's graphs will meet on a device, predicted from the files alone: no engine, no device, no network."""
