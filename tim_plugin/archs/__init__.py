"""Networks: the tower and its parts, and the compared systems."""
