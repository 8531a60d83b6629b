"""The functions of a site on Netlify: the bundle, as Netlify's bootstrap loads it."""
