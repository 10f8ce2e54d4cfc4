"""HTTP sources, read from the outside in: driver → paging → exchange → auth, body → egress."""
