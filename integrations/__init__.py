"""Guards for a site's own endpoints, one module a framework."""
