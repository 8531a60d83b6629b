"""``usher netlify dev``: a site under Netlify's command line, with a local Identity."""
