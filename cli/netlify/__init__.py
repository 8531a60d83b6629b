"""``usher netlify``: the functions of a site on Netlify."""
