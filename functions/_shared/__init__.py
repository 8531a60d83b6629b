"""What every function shares: headers, and HTTP as platforms spell it."""
