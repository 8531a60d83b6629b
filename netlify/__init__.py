"""What runs on Netlify: functions in Python, the bridge to Identity, the site's rewrites."""
