"""What happens after a run, outside: SQL, webhooks and mail by named connections. Never undoes what is committed."""
