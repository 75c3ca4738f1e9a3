"""How objects of the API are read for any pod network: what may be broken, who owns it, what nobody reads."""
