"""What both ends of the distribution protocol share."""
