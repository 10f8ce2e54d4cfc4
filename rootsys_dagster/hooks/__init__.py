"""Systems outside by their named connections, asked apart from any run."""
