"""What people paste: dumps and logs cleaned, recognised and read into a snapshot. This machine is not looked at."""
