"""The nouns: interface, pointer, record, position, contract, fabric, project, and the ports that plugins fill."""
