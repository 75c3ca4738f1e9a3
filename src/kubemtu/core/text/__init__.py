"""Text of others and for others: changed in one place, read within bounds, made printable, put into sentences."""
