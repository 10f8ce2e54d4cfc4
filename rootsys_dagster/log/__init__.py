"""The commit log: segments, manifests, followers. The only code that writes under the state root."""
