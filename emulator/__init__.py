"""A local Netlify Identity."""
