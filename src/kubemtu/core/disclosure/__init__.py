"""What may leave a node or a cluster: of a file, of an object, and how much of it all."""
