"""The HTTP server of `heed serve`."""
