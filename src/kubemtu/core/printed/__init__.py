"""What programs and files of a node print, as values: links, routes, addresses, and what was not understood."""
