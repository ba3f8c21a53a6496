"""The one form of a result, whoever measured it: schema, reading, keeping, passing on as text."""
