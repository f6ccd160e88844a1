"""gettext catalogues (.po, .pot)."""
