"""What people and programs read: results as text, JSON and HTML. Nothing outside this package prints."""
