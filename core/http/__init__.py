"""HTTP to others, behind one interface."""
