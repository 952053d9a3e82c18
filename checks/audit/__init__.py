"""What was asked, answered and changed is not on record."""
